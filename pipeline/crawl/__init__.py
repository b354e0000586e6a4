"""Stage `crawl`: images from search engines, and a ledger of every attempt."""
