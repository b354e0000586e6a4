"""Stage `folder`: your own folders or tables to samples."""
