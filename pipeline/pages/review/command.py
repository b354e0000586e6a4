"""`kalai review`: look at a dataset's images in the browser, and decide about them."""

from __future__ import annotations

import click

from pipeline.core.errors import PipelineError, Stage, unknown_dataset

PORT = 8010


@click.command(cls=Stage)
@click.argument("dataset", required=False)
@click.option(
    "--port",
    default=PORT,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port on this machine; 0 takes a free one.",
)
@click.option("--no-browser", is_flag=True, help="Do not open the browser.")
def main(dataset: str | None, port: int, *, no_browser: bool) -> None:
    """Review images in the browser: keep, delete or relabel them.

    The page shows top losses, label conflicts, near-duplicates, suspects, rejected images and
    all images. Without DATASET it offers every dataset. It appends each decision to
    data/DATASET/decisions.csv at once. Commit that file; `dvc repro` applies it. The page is
    served on this machine only.

    \b
    Examples:
      kalai review
      kalai review tamil --port 8000 --no-browser
    """
    from pipeline.dataset.decisions import current_user
    from pipeline.dataset.paths import known_datasets
    from pipeline.pages.local import serve
    from pipeline.pages.review.app import make_page

    names = known_datasets()
    if dataset is not None and dataset not in names:
        raise unknown_dataset(dataset, names)
    if not names:
        raise PipelineError("this project has no dataset; add one with `kalai add-dataset`")
    serve(make_page(names, current_user(), dataset), port, is_shown=not no_browser)
