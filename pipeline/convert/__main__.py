"""Run the stage: `python -m pipeline.convert`."""

from pipeline.convert.stage import main

main()
