"""Pictures of numbers, for people: drawn without a display and without a network."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from PIL import Image

from pipeline.files import replacing
from pipeline.measures import BINS, Floats, Ints
from pipeline.network import ClassName

SIZE = (8, 4.5)  # inches, of a curve
CLASSES_WITH_COUNTS = 20  # beyond, only the errors are written into the matrix


def save(figure: Figure, path: Path, dpi: int = 110) -> None:
    """Write a figure as PNG, atomically, with nothing in it that changes from run to run."""
    with replacing(path) as temporary:
        figure.savefig(
            temporary, format="png", dpi=dpi, bbox_inches="tight", metadata={"Software": None}
        )


def draw_history(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Draw losses and accuracies by epoch; a line marks where the next stage begins."""
    figure = Figure(figsize=SIZE)
    left, right = figure.subplots(1, 2)
    epochs = [row[0] for row in rows]
    for name in header[2:]:
        values = [row[header.index(name)] for row in rows]
        axes = left if name.endswith("loss") else right
        axes.plot(epochs, [float("nan") if v is None else v for v in values], "o-", label=name)
    for axes in (left, right):
        for before, after in pairwise(rows):
            if before[1] != after[1]:
                axes.axvline(after[0] - 0.5, color="grey", linestyle=":")
        axes.set_xlabel("epoch")
        axes.legend()
    save(figure, path)


def draw_finder(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Draw the learning rate finder's loss by rate, a curve a stage."""
    figure = Figure(figsize=SIZE)
    axes = figure.subplots()
    for stage in dict.fromkeys(row[0] for row in rows):
        points = [row for row in rows if row[0] == stage]
        axes.plot([row[1] for row in points], [row[2] for row in points], label=stage)
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    if rows:
        axes.legend()
    save(figure, path)


def tick(known: ClassName) -> str:
    """Return a name that the font can draw: matplotlib's own has no Tamil."""
    font = get_font(findfont("DejaVu Sans"))
    name = known.romanised or known.name
    return name if all(font.get_char_index(ord(letter)) for letter in name) else known.label


def draw_confusion(path: Path, matrix: Ints, classes: Sequence[ClassName], title: str) -> None:
    """Draw a confusion matrix, each row as shares; counts are written where there is room."""
    side = max(4.0, 0.17 * len(classes) + 2)  # inches: a line of text a class
    figure = Figure(figsize=(side, side))
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    # The root shows the rare confusions beside a strong diagonal.
    axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    names = [tick(known) for known in classes]
    font = 6 if len(classes) > CLASSES_WITH_COUNTS else 9
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=font)
    axes.set_yticks(range(len(names)), names, fontsize=font)
    axes.set(xlabel="predicted", ylabel="actual", title=f"{title}: {matrix.sum()} samples")
    for actual, predicted in zip(*np.nonzero(matrix), strict=True):
        count = matrix[actual, predicted]
        if len(classes) <= CLASSES_WITH_COUNTS or actual != predicted:
            colour = "white" if shares[actual, predicted] > 0.4 else "black"
            axes.text(
                predicted, actual, count, ha="center", va="center", color=colour, fontsize=font - 1
            )
    save(figure, path)


def draw_calibration(path: Path, probabilities: Floats, actual: Ints) -> None:
    """Draw how often the model is right by how sure it is."""
    figure = Figure(figsize=(4.5, 4.5))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    if len(actual):
        sure, right = probabilities.max(1), probabilities.argmax(1) == actual
        bins = np.minimum((sure * BINS).astype(int), BINS - 1)
        counts = np.bincount(bins, minlength=BINS)
        held = counts > 0
        means = [np.bincount(bins, what, BINS)[held] / counts[held] for what in (sure, right)]
        axes.plot(*means, "o-")
    axes.set(xlabel="probability given", ylabel="share right", xlim=(0, 1), ylim=(0, 1))
    save(figure, path)


class TopLoss(NamedTuple):
    """A sample that surprised the model."""

    sample_id: str
    part: str
    actual: ClassName
    predicted: ClassName
    sure: float
    loss: float


def draw_top_losses(path: Path, worst: Sequence[TopLoss], images: Mapping[str, bytes]) -> None:
    """Draw the pictures with what they are said to be and what the model takes them for."""
    columns = 8
    rows = max(1, -(-len(worst) // columns))
    figure = Figure(figsize=(1.7 * columns, 2.1 * rows))
    grid = figure.subplots(rows, columns, squeeze=False, gridspec_kw={"hspace": 0.5}).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, top in zip(grid, worst, strict=False):
        with Image.open(io.BytesIO(images[top.sample_id])) as image:
            image.thumbnail((256, 256))
            axes.imshow(image.convert("RGB"))
        said = f"{tick(top.actual)}\nas {tick(top.predicted)} {top.sure:.0%}"
        axes.set_title(said, fontsize=8)
    save(figure, path)
