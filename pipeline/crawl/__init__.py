"""Stage `crawl`: search engines and image hosts to image files and a ledger."""
