"""HTTP from outside: one guarded client, politeness, downloads that resume."""
