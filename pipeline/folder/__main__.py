"""Run the stage: `python -m pipeline.folder`."""

from pipeline.folder.stage import main

main()
