"""Stage `collect`: crawled files to samples."""
