"""The files below data/<dataset>/: one module owns each format."""
