"""Run the stage: `python -m pipeline.dedupe`."""

from pipeline.dedupe.stage import main

main()
