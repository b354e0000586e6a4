"""`kalai serve`: a local page to try trained models on drawn letters and images."""
