"""Run the stage: `python -m pipeline.train`."""

from pipeline.train.stage import main

main()
