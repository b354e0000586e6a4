"""`kalai review`: look at a dataset in the browser, and decide."""

from __future__ import annotations

import click

from pipeline.errors import PipelineError, Stage

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
    from pipeline.pages.local import serve
    from pipeline.review.page import known_datasets, make_page
    from pipeline.samples import DATA
    from pipeline.steps import who

    names = known_datasets(DATA)
    if dataset is not None and dataset not in names:
        raise PipelineError(f"no dataset {dataset!r}; there are: {', '.join(names)}")
    serve(make_page(names, who(), dataset), port, is_shown=not no_browser)


if __name__ == "__main__":
    main()
