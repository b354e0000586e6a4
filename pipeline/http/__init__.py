"""HTTP with limits: a guarded client, politeness towards hosts, and resumable downloads."""
