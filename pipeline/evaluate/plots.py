"""Plots of an evaluation: calibration, the confusion matrix, the most confused classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pipeline.charts.figure import BLUE, GREY, LARGE, ORANGE, PLAIN, RED, SMALL, drawing
from pipeline.model.metrics import BINS, Floats, Ints, calibration_error, most_confused

WITH_COUNTS = 20  # classes; with more, counts are written only into the cells of errors
LINE = 0.17  # inches: a line of small text
PAIRS, ENLARGED = 16, 14  # pairs drawn as bars; classes in the enlarged matrix


def draw_calibration(path: Path, probabilities: Floats, as_trained: Floats, actual: Ints) -> None:
    """Draw the reliability diagram before and after temperature scaling (Guo et al. 2017).

    The lower axes count the samples by confidence. `probabilities` (samples, classes) are after
    scaling, `as_trained` (samples, classes) before it; `actual` (samples,) are class numbers.
    """
    with drawing(path, (5.2, 6)) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        upper.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="perfect calibration")
        if len(actual):
            for given, words, colour in (
                (as_trained, "before temperature scaling", ORANGE),
                (probabilities, "after", BLUE),
            ):
                sure, right = given.max(1), given.argmax(1) == actual
                bins = np.minimum((sure * BINS).astype(int), BINS - 1)
                counts = np.bincount(bins, minlength=BINS)
                held = counts > 0
                means = [
                    np.bincount(bins, what, BINS)[held] / counts[held] for what in (sure, right)
                ]
                error = calibration_error(given, actual)
                upper.plot(
                    *means, "o-", color=colour, markersize=4, label=f"{words}: error {error:.1%}"
                )
            edges = np.linspace(0, 1, BINS + 1)
            lower.hist(probabilities.max(1), edges, color=BLUE, alpha=0.75)
        upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title="Calibration")
        upper.grid()
        upper.legend(loc="upper left")
        lower.set(xlabel="confidence (probability of the predicted class)", ylabel="samples")


def draw_confusion(path: Path, matrix: Ints, names: Sequence[str], title: str) -> None:
    """Draw a confusion matrix (classes, classes), each row as shares.

    Counts are written into the cells; with more than WITH_COUNTS classes, only into the cells of
    errors.
    """
    is_small = len(names) <= WITH_COUNTS
    side = max(4.5, (0.45 if is_small else LINE) * len(names) + 2)  # inches
    with drawing(path, (side, side), names) as figure:
        axes = figure.subplots()
        _show(axes, matrix, matrix.sum(1), names, PLAIN if is_small else SMALL)
        axes.set(xlabel="predicted", ylabel="actual")
        axes.set_title(title, fontsize=LARGE if is_small else 2 * LARGE)
        if not is_small:
            axes.tick_params(labeltop=True, labelright=True, length=2)


def _show(axes: Axes, matrix: Ints, totals: Ints, names: Sequence[str], size: float) -> None:
    """Draw counts as shares of the rows' totals, with names on the axes and counts in the cells."""
    shares = matrix / np.maximum(totals, 1)[:, None]
    # The square root makes rare confusions visible beside a strong diagonal.
    axes.imshow(np.sqrt(shares), cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size)
    axes.set_yticks(range(len(names)), names, fontsize=size)
    axes.spines[:].set_visible(len(names) <= WITH_COUNTS)
    if len(names) > WITH_COUNTS:  # lines that lead from a name to its cells
        for place in range(0, len(names), 5):
            axes.axhline(place, color="#00000012", linewidth=0.5, zorder=0.5)
            axes.axvline(place, color="#00000012", linewidth=0.5, zorder=0.5)
    for actual, predicted in zip(*np.nonzero(matrix), strict=True):
        if len(names) <= WITH_COUNTS or actual != predicted:
            axes.text(
                predicted,
                actual,
                str(matrix[actual, predicted]),
                ha="center",
                va="center",
                color="white" if shares[actual, predicted] > 0.4 else "black",
                fontsize=size,
            )


def draw_most_confused(path: Path, matrix: Ints, names: Sequence[str], title: str) -> None:
    """Draw the most confused pairs of classes as bars; with many classes, also their matrix.

    There is more room than in `draw_confusion`, so `names` may be longer.
    """
    pairs = most_confused(matrix)[:PAIRS]
    is_enlarged = len(names) > WITH_COUNTS and bool(pairs)
    height = max(2.5, 0.36 * len(pairs) + 1)  # inches
    size = (13, max(height, 6.5)) if is_enlarged else (8, height)
    with drawing(path, size, names) as figure:
        left, *others = figure.subplots(1, 2 if is_enlarged else 1, squeeze=False)[0]
        totals = matrix.sum(1)
        counts = [count for _, _, count in pairs]
        left.barh(range(len(pairs)), counts, color=RED, height=0.7)
        words = [
            f"{names[actual]} \N{RIGHTWARDS ARROW} {names[predicted]}"
            for actual, predicted, _ in pairs
        ]
        left.set_yticks(range(len(pairs)), words, fontsize=LARGE)
        left.invert_yaxis()
        left.tick_params(length=0)
        left.set_xlim(0, max(counts, default=1) * 1.25)
        for place, (actual, _, count) in enumerate(pairs):
            of_class = f" {count} of {totals[actual]}"
            left.text(count, place, of_class, va="center", fontsize=PLAIN)
        left.set_title(title if pairs else f"{title}: none")
        left.xaxis.set_visible(False)
        left.spines[:].set_visible(False)
        for right in others:
            chosen = neighbours(matrix, ENLARGED)
            part = matrix[np.ix_(chosen, chosen)]
            _show(right, part, totals[chosen], [names[place] for place in chosen], PLAIN + 1)
            right.set(
                xlabel="predicted",
                ylabel="actual",
                title=f"The {len(chosen)} classes of these pairs",
            )


def neighbours(matrix: Ints, count: int) -> NDArray[np.int64]:
    """Return the indices of up to `count` classes from the most confused pairs.

    The order puts classes that are confused with each other side by side: the next class is always
    the one that is most confused with the three before it.
    """
    wrong = matrix + matrix.T
    np.fill_diagonal(wrong, 0)
    wanted: list[int] = []
    for actual, predicted, _ in most_confused(matrix):
        wanted += [place for place in (actual, predicted) if place not in wanted]
        if len(wanted) >= count:
            break
    left, order = wanted[:count], list[int]()
    while left:
        close = [int(wrong[order[-3:], place].sum()) for place in left]
        order.append(left.pop(int(np.argmax(close))))
    return np.array(order, np.int64)
