"""Run the whole pipeline offline: a synthetic world, a local web that serves it, and the run."""
