"""Charts and contact sheets, drawn without a display and without a network connection."""
