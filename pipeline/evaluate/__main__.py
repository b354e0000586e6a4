"""Run the stage: `python -m pipeline.evaluate`."""

from pipeline.evaluate.stage import main

main()
