"""Stage `folder`: your own images become samples."""
