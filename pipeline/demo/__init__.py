"""Run the whole pipeline offline, on synthetic data from servers on this machine."""
