"""The whole pipeline offline: a small drawn world, a loopback web and the run between them."""
