"""Run the whole pipeline offline: a small drawn world, a local web that serves it, and the run."""
