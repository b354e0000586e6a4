"""Run the stage: `python -m pipeline.fetch`."""

from pipeline.fetch.stage import main

main()
