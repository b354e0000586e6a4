"""The files below data/<dataset>/: one module for each format."""
