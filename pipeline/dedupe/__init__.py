"""Stage `dedupe`: duplicates, near-duplicates and label conflicts."""
