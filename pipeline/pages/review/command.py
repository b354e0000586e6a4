"""`kalai review`: look at a dataset in the browser, and decide."""

from __future__ import annotations

import click

from pipeline.core.errors import PipelineError, Stage, unknown_dataset

PORT = 8010


@click.command(cls=Stage)
@click.argument("dataset", required=False)
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(0, 65535))
@click.option("--no-browser", is_flag=True, help="Do not open the browser.")
def main(dataset: str | None, port: int, *, no_browser: bool) -> None:
    """Look at pictures in the browser and decide: keep, delete, relabel.

    Top losses, label conflicts, near duplicates, suspects, what was rejected, and all pictures of
    DATASET, or of each in turn. What is decided is appended to data/DATASET/decisions.csv at once;
    commit it, and `dvc repro` applies it. On this machine alone.

    \b
    Examples:
      kalai review
      kalai review tamil --port 8000 --no-browser
    """
    from pipeline.dataset.decisions import current_user
    from pipeline.dataset.paths import known_datasets
    from pipeline.pages.local import serve
    from pipeline.pages.review.page import make_page

    names = known_datasets()
    if dataset is not None and dataset not in names:
        raise unknown_dataset(dataset, names)
    if not names:
        raise PipelineError("this project has no dataset; add one with `kalai add-dataset`")
    serve(make_page(names, current_user(), dataset), port, is_shown=not no_browser)
