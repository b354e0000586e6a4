"""Search engines: one module for each, and the table of them in `registry`."""
