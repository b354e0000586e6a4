"""A trained model on new pictures; the safe form of the model alone is read."""

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
from numpy.typing import NDArray

from pipeline import __version__
from pipeline.convert.letters import draw_pen
from pipeline.core.errors import PipelineError, Rejected, Stage
from pipeline.dataset.labels import ClassName
from pipeline.dataset.paths import DATA
from pipeline.images.normalise import open_rgb
from pipeline.model.device import pick_device
from pipeline.model.inputs import Pixels, prepare
from pipeline.model.metrics import softmax
from pipeline.model.network import Card, load_model, predict_logits

BATCH = 256  # pictures decoded before the network is asked; bounds memory
THREADS = min(8, os.cpu_count() or 1)  # that decode, or ask a host for its pictures
MAX_BYTES = 50_000_000  # of a picture from a URL or standard input


@click.command(cls=Stage)
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("-d", "--dataset", help="Whose model; may be left out while there is only one.")
@click.option("-k", "--top", default=3, show_default=True, type=click.IntRange(1))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--device", default="auto", type=click.Choice(["auto", "cuda", "mps", "cpu"]))
@click.option(
    "--allow-host", "allowed", multiple=True, help="host:port of a private network, for URLs."
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
    """Name what is in pictures: the top 3 with probabilities.

    IMAGE is a file, a folder (every file in it), a URL, or - for one picture on standard input;
    where a model learned from handwriting, a UNIPEN file, too.
    What cannot be read is named on standard error, and the exit code says so at the end.

    Example: kalai predict --dataset dances photo.jpg holiday/
    """
    network, card = load_model(DATA / (dataset or only_dataset()) / "model")
    computing = pick_device(device)
    names, refused = iter(expanded(images)), 0
    while some := list(islice(names, BATCH)):
        opened, refusals = open_all(some, card, allowed)
        refused += len(refusals)
        for name, reason in refusals.items():
            click.echo(f"{name}: {reason}", err=True)
        if opened:
            logits = predict_logits(network, np.stack(list(opened.values())), card, computing)
            for name, row in zip(opened, softmax(logits, card.temperature), strict=True):
                click.echo(line(name, best(row, card.classes, top), as_json))
    if refused:
        raise PipelineError(f"{refused} of the pictures could not be read")


def only_dataset() -> str:
    """Return the dataset that has a model; raise PipelineError unless there is just one."""
    there = trained()
    if len(there) > 1:
        raise PipelineError(f"there are models of {', '.join(there)}: say which with --dataset")
    return there[0]


def trained() -> list[str]:
    """Return the datasets that have a model; raise PipelineError where none has."""
    there = sorted(path.parent.parent.name for path in DATA.glob("*/model/model.json"))
    if not there:
        raise PipelineError(
            f"no trained model under {DATA}; run `dvc repro` or `dvc pull`, or `dvc checkout` for "
            "the last one where a run has failed"
        )
    return there


def expanded(images: Iterable[str]) -> Iterator[str]:
    """Give each name; for a folder, the files in it and below, in order."""
    for name in images:
        path = Path(name)
        if path.is_dir():
            yield from (str(file) for file in sorted(path.rglob("*")) if file.is_file())
        else:
            yield name


def open_all(
    names: Sequence[str], card: Card, allowed: Sequence[str]
) -> tuple[dict[str, Pixels], dict[str, Rejected]]:
    """Read and prepare pictures; what cannot be read comes second, with its reason."""

    def opening(name: str) -> Pixels | Rejected:
        try:
            return pixels_of(read(name, allowed), card)
        except Rejected as reason:
            return reason

    with ThreadPoolExecutor(THREADS) as pool:
        found = dict(zip(names, pool.map(opening, names), strict=True))
    refusals = {name: each for name, each in found.items() if isinstance(each, Rejected)}
    opened = {name: each for name, each in found.items() if not isinstance(each, Rejected)}
    return opened, refusals


def pixels_of(data: bytes, card: Card) -> Pixels:
    """Return (channels, side, side) of a picture or a UNIPEN file, as the network sees it.

    Raises Rejected: "pen-file" where the model learned from no pens, and as reading them does.
    """
    if b".PEN_DOWN" in data:
        if card.drawing is None:
            raise Rejected("pen-file", "strokes of a pen, and this model learned from pictures")
        data = draw_pen(data, card.drawing)
    return prepare(open_rgb(data), card.view)[0]


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


def best(
    probabilities: NDArray[np.float64], classes: Sequence[ClassName], top: int
) -> list[tuple[ClassName, float]]:
    """Return the `top` most probable classes, the surest first."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [(classes[place], float(probabilities[place])) for place in order]


def line(name: str, found: Sequence[tuple[ClassName, float]], as_json: bool) -> str:
    """Return what is said of a picture: for people, or JSON."""
    if as_json:
        guesses = [
            {"label": known.label, "name": known.name, "probability": round(sure, 6)}
            for known, sure in found
        ]
        return json.dumps({"image": name, "top": guesses}, ensure_ascii=False)
    shown = [
        f"{known.name}{f' ({known.romanised})' if known.romanised else ''} {sure:.1%}"
        for known, sure in found
    ]
    return f"{name}  {', '.join(shown)}"
