"""kalai: make an image data set that can be trusted, and train on it."""

__version__ = "0.1.0"
