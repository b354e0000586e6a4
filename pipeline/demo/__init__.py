"""Run the whole pipeline offline: a small synthetic world, a local web that serves it, and the run."""
