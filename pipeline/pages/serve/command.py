"""`kalai serve`: try trained models on drawn letters and images."""

from __future__ import annotations

import re

import click

from pipeline.core.errors import PipelineError, Stage

PORT = 8011
MIN_TOKEN = 16  # characters


@click.command(cls=Stage)
@click.argument("datasets", metavar="[DATASET]...", nargs=-1)
@click.option(
    "--port",
    default=PORT,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port on this machine; 0 takes a free one.",
)
@click.option("--no-browser", is_flag=True, help="Do not open the browser.")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "cuda", "mps", "cpu"]),
    help="Where the models run.",
)
@click.option(
    "--token",
    envvar="KALAI_TOKEN",
    help="Token that scripts send in X-Kalai-Token (default: KALAI_TOKEN, else a random one).",
)
def main(
    datasets: tuple[str, ...], port: int, *, no_browser: bool, device: str, token: str | None
) -> None:
    """Try trained models in the browser: draw a letter or drop an image.

    Serves the model of each DATASET; without DATASET, every trained model. The page shows the
    three most probable classes, samples of them, and the network's input. Scripts use the JSON
    API that /openapi.json describes. The page is served on this machine only. Models are read
    from model.safetensors and model.json; nothing is unpickled.

    \b
    Examples:
      kalai serve
      kalai serve tamil --port 8000 --no-browser
    """
    if token is not None and not re.fullmatch(rf"[!-~]{{{MIN_TOKEN},}}", token):
        raise PipelineError(
            f"--token: needs {MIN_TOKEN} or more ASCII characters without spaces; "
            "run `openssl rand -hex 16` to make one"
        )
    from pipeline.dataset.paths import check_dataset, trained_datasets
    from pipeline.model.device import pick_device
    from pipeline.pages.local import serve
    from pipeline.pages.request_guard import TOKEN_HEADER
    from pipeline.pages.serve.app import make_page
    from pipeline.pages.serve.loaded_model import load

    for dataset in datasets:
        check_dataset(dataset)
    chosen_device = pick_device(device)
    models = []
    for dataset in dict.fromkeys(datasets or trained_datasets()):
        click.echo(f"{dataset}: loading the model", err=True)
        models.append(load(dataset, chosen_device))
    page = make_page(models, token)
    if token is None:
        click.echo(f"token for scripts: {TOKEN_HEADER}: {page.token}")
    serve(page, port, is_shown=not no_browser)
