"""Stage `convert`: archived handwriting to samples."""
