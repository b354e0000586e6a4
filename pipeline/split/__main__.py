"""Run the stage: `python -m pipeline.split`."""

from pipeline.split.stage import main

main()
