"""Run the stage: `python -m pipeline.collect`."""

from pipeline.collect.stage import main

main()
