"""Stage `collect`: crawled files become samples."""
