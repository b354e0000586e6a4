"""Run the stage: `python -m pipeline.crawl`."""

from pipeline.crawl.stage import main

main()
