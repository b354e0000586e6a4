"""Plots of a training run: losses and accuracies by epoch, and the learning rate finder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.charts.figure import BLUE, GREEN, GREY, ORANGE, SMALL, drawing

LINES = {  # column of the history -> its name and colour
    "train_loss": ("training set", BLUE),
    "valid_loss": ("validation set", ORANGE),
    "accuracy": ("accuracy", BLUE),
    "balanced_accuracy": ("balanced accuracy", GREEN),
}
CUT = 4.0  # times the lowest loss: the finder's curve is cut off above this


def draw_history(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Draw losses and accuracies by epoch; a line marks the start of the next stage.

    `header` has the names of the columns of `rows`.
    """
    with drawing(path) as figure:
        left, right = figure.subplots(1, 2)
        epochs = [row[0] for row in rows]
        for name in header[2:]:
            values = [row[header.index(name)] for row in rows]
            known = [float("nan") if value is None else value for value in values]
            words, colour = LINES.get(name, (name.replace("_", " "), GREY))
            axes = left if name.endswith("loss") else right
            axes.plot(epochs, known, "o-", color=colour, markersize=4, label=words)
            if axes is right and any(value is not None for value in values):
                best = int(np.nanargmax(known))
                axes.annotate(
                    f"{known[best]:.1%}",
                    (epochs[best], known[best]),
                    xytext=(0, 7 if name != "accuracy" else -15),
                    textcoords="offset points",
                    ha="center",
                    color=colour,
                )
        left.set(title="Loss", xlabel="epoch")
        left.set_ylim(0, left.get_ylim()[1] * 1.08)  # room for the stages' names
        right.set(title="Accuracy on the validation set", xlabel="epoch", ylim=(0, 1.12))
        right.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        for axes in (left, right):
            _stages(axes, rows)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(axis="y")
            axes.legend(loc="lower left" if axes is left else "lower right")


def _stages(axes: Axes, rows: Sequence[Sequence[Any]]) -> None:
    """Write the names of the stages above the curves, with a line between them."""
    bounds = [(row[0], row[1]) for row in rows[:1]]
    for before, after in pairwise(rows):
        if before[1] != after[1]:
            axes.axvline(after[0] - 0.5, color=GREY, linestyle=":")
            bounds.append((after[0] - 0.5, after[1]))
    if len(bounds) > 1:
        for place, (epoch, stage) in enumerate(bounds):
            axes.annotate(
                str(stage).replace("_", " "),
                (epoch, 1),
                xycoords=("data", "axes fraction"),
                xytext=(3, -2 - 11 * (place % 2)),  # a stage of one epoch is narrow
                textcoords="offset points",
                va="top",
                fontsize=SMALL + 1,
                color="#555555",
            )


def draw_finder(
    path: Path, rows: Sequence[Sequence[Any]], rates: Mapping[str, float | None] | None = None
) -> None:
    """Draw the loss against the learning rate, with a curve for each stage.

    `rows` are (stage, learning rate, loss). A dot marks each suggested rate of `rates`.
    """
    with drawing(path) as figure:
        axes = figure.subplots()
        lowest = min((row[2] for row in rows), default=1.0)
        for place, stage in enumerate(dict.fromkeys(row[0] for row in rows)):
            points = [row for row in rows if row[0] == stage]
            colour = (BLUE, ORANGE, GREEN)[place % 3]
            steps, losses = [row[1] for row in points], [row[2] for row in points]
            axes.plot(steps, losses, color=colour, label=str(stage).replace("_", " "))
            suggested = (rates or {}).get(stage)
            if suggested is not None:
                at = float(np.interp(np.log(suggested), np.log(steps), losses))
                words = f"suggested for {str(stage).replace('_', ' ')}: {suggested:.2g}"
                axes.plot(suggested, at, "o", color=colour, markersize=9, label=words)
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss", title="Learning rate finder")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.grid()
        if rows:
            highest = min(max(row[2] for row in rows), CUT * lowest)
            room = 0.05 * (highest - lowest) or 1.0
            axes.set_ylim(lowest - room, highest + room)
            axes.legend()
