"""`kalai predict`: classify new images with a trained model. Nothing is unpickled."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import click
import numpy as np

from pipeline import __version__
from pipeline.commands.classify import model_input, top_classes
from pipeline.core.errors import PipelineError, Rejected, Stage
from pipeline.dataset.labels import ClassName
from pipeline.dataset.paths import check_dataset, model_folder, trained_datasets
from pipeline.model.device import pick_device
from pipeline.model.inputs import Pixels
from pipeline.model.metrics import softmax
from pipeline.model.network import Card, load_model, predict_logits

BATCH = 256  # images decoded before the network runs; bounds memory
THREADS = min(8, os.cpu_count() or 1)  # threads that decode files or download URLs
MAX_BYTES = 50_000_000  # of an image from a URL or standard input


@click.command(cls=Stage)
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("-d", "--dataset", help="Use this dataset's model. Optional if only one has a model.")
@click.option(
    "-k",
    "--top",
    default=3,
    show_default=True,
    type=click.IntRange(1),
    metavar="N",
    help="Classes to print.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "cuda", "mps", "cpu"]),
    help="Where the model runs.",
)
@click.option(
    "--allow-host",
    "allowed",
    multiple=True,
    metavar="HOST:PORT",
    help="Allow URLs of this host in a private network. Repeatable.",
)
def main(
    images: tuple[str, ...],
    dataset: str | None,
    top: int,
    *,
    as_json: bool,
    device: str,
    allowed: tuple[str, ...],
) -> None:
    """Classify images: print the 3 most probable classes of each.

    IMAGE is a file, a folder (all files in it), a URL, or - for standard input. A model that was
    trained on handwriting also reads UNIPEN files. A file that cannot be read is reported on
    standard error; the others are still classified, and the command exits with 1.

    \b
    Example:
      kalai predict --dataset dances photo.jpg holiday/
    """
    if dataset is not None:
        check_dataset(dataset)
    network, card = load_model(model_folder(dataset or only_dataset()))
    computing = pick_device(device)
    names, failures = iter(expanded(images)), 0
    while some := list(islice(names, BATCH)):
        opened, failed = open_all(some, card, allowed)
        failures += len(failed)
        for name, reason in failed.items():
            click.echo(f"{name}: {reason}", err=True)
        if opened:
            logits = predict_logits(network, np.stack(list(opened.values())), card, computing)
            for name, row in zip(opened, softmax(logits, card.temperature), strict=True):
                click.echo(line(name, top_classes(row, card.classes, top), as_json))
    if failures:
        raise PipelineError(f"{failures} of the images could not be read")


def only_dataset() -> str:
    """Return the one dataset that has a model; raise PipelineError if none or several have one."""
    names = trained_datasets()
    if len(names) > 1:
        raise PipelineError(
            f"several datasets have a model: {', '.join(names)}; choose one with --dataset"
        )
    return names[0]


def expanded(images: Iterable[str]) -> Iterator[str]:
    """Yield each name, replacing each folder by the files below it, in order."""
    for name in images:
        path = Path(name)
        if path.is_dir():
            yield from (str(file) for file in sorted(path.rglob("*")) if file.is_file())
        else:
            yield name


def open_all(
    names: Sequence[str], card: Card, allowed: Sequence[str]
) -> tuple[dict[str, Pixels], dict[str, Rejected]]:
    """Read and prepare images; return their pixels by name, and the failures by name."""

    def opening(name: str) -> Pixels | Rejected:
        try:
            return model_input(read(name, allowed), card)
        except Rejected as reason:
            return reason

    with ThreadPoolExecutor(THREADS) as pool:
        found = dict(zip(names, pool.map(opening, names), strict=True))
    failed = {name: each for name, each in found.items() if isinstance(each, Rejected)}
    opened = {name: each for name, each in found.items() if not isinstance(each, Rejected)}
    return opened, failed


def read(name: str, allowed: Sequence[str]) -> bytes:
    """Return the bytes of a file, a URL or standard input (`-`). Raises Rejected."""
    if name == "-":
        return sys.stdin.buffer.read(MAX_BYTES)
    if name.startswith(("http://", "https://")):
        from pipeline.http.client import GuardedSession, Limits, get

        with GuardedSession(f"kalai/{__version__}", allowed) as session:
            return get(session, name, Limits(max_bytes=MAX_BYTES)).body
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise Rejected("not-readable", error.strerror or str(error)) from error


def line(name: str, found: Sequence[tuple[ClassName, float]], as_json: bool) -> str:
    """Return the output line of one image, as text or as JSON."""
    if as_json:
        guesses = [
            {"label": known.label, "name": known.name, "probability": round(probability, 6)}
            for known, probability in found
        ]
        return json.dumps({"image": name, "top": guesses}, ensure_ascii=False)
    shown = [
        f"{known.name}{f' ({known.romanised})' if known.romanised else ''} {probability:.1%}"
        for known, probability in found
    ]
    return f"{name}  {', '.join(shown)}"
