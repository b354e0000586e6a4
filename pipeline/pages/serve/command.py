"""`kalai serve`: draw a letter, drop a picture, and see what the models make of it."""

from __future__ import annotations

import re

import click

from pipeline.core.errors import PipelineError, Stage

PORT = 8011
LEAST_TOKEN = 16  # characters


@click.command(cls=Stage)
@click.argument("datasets", metavar="[DATASET]...", nargs=-1)
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(0, 65535))
@click.option("--no-browser", is_flag=True, help="Do not open the browser.")
@click.option("--device", default="auto", type=click.Choice(["auto", "cuda", "mps", "cpu"]))
@click.option(
    "--token",
    envvar="KALAI_TOKEN",
    help="What scripts send in X-Kalai-Token; left out, it is drawn by lot. Or KALAI_TOKEN.",
)
def main(
    datasets: tuple[str, ...], port: int, *, no_browser: bool, device: str, token: str | None
) -> None:
    """Try trained models in the browser: draw a letter, drop a picture.

    Of each DATASET, or of all that have a model: the three most probable classes, samples of
    them, and the picture that the network saw. A JSON API answers scripts; it describes itself at
    /openapi.json. On this machine alone; the safe form of the models is read, nothing is
    unpickled.

    \b
    Examples:
      kalai serve
      kalai serve tamil --port 8000 --no-browser
    """
    if token is not None and not re.fullmatch(rf"[!-~]{{{LEAST_TOKEN},}}", token):
        raise PipelineError(f"--token: {LEAST_TOKEN} characters or more of ASCII, no blanks")
    from pipeline.dataset.paths import check_dataset, trained_datasets
    from pipeline.model.device import pick_device
    from pipeline.pages.guard import TOKEN_HEADER
    from pipeline.pages.local import serve
    from pipeline.pages.serve.page import make_page
    from pipeline.pages.serve.served import load

    for dataset in datasets:
        check_dataset(dataset)
    computing = pick_device(device)
    served = []
    for dataset in dict.fromkeys(datasets or trained_datasets()):
        click.echo(f"loading {dataset}", err=True)
        served.append(load(dataset, computing))
    page = make_page(served, token)
    if token is None:
        click.echo(f"for scripts: {TOKEN_HEADER}: {page.token}")
    serve(page, port, is_shown=not no_browser)
