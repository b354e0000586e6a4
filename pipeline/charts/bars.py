"""Bar charts: accuracy by class, and samples by class and by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from pipeline.charts.figure import BLUE, GREY, PART_COLOURS, PLAIN, SMALL, WIDE, drawing
from pipeline.model.metrics import Ints, balanced_accuracy, per_class, wilson

ROWS = 40  # horizontal bars in one panel, at most
GROUPS = 160  # vertical bars, at most
SMALL_GROUP = 10  # samples; if no group is larger, the chart counts groups by size


def _panels(figure: Figure, count: int) -> list[tuple[Axes, slice]]:
    """Divide `count` bars over axes side by side; return each with the slice of bars it shows."""
    panels = max(1, -(-count // ROWS))
    rows = max(1, -(-count // panels))
    axes = figure.subplots(1, panels, squeeze=False, gridspec_kw={"wspace": 0.5})[0]
    return [(each, slice(n * rows, (n + 1) * rows)) for n, each in enumerate(axes)]


def _size(count: int) -> tuple[float, float]:
    panels = max(1, -(-count // ROWS))
    rows = max(1, -(-count // panels))
    return (max(7.0, 3.4 * panels), max(2.2, 0.17 * rows + 1.4 if panels > 1 else 0.3 * rows + 1.4))


def _name_rows(axes: Axes, names: Sequence[str], *, is_small: bool, rows: int) -> None:
    axes.set_yticks(range(len(names)), names, fontsize=SMALL if is_small else PLAIN)
    axes.set_ylim(rows - 0.4, -0.6)  # one scale for all panels, the first bar on top
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def _key(axes: Axes, parts: Mapping[str, str]) -> None:
    """Draw the legend of the parts below the title."""
    keys = [Patch(color=PART_COLOURS[name], label=words) for name, words in parts.items()]
    axes.legend(handles=keys, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(keys), borderpad=0)


def draw_per_class(path: Path, matrix: Ints, names: Sequence[str], title: str) -> None:
    """Draw the accuracy of each class with its 95% interval, the lowest first.

    `matrix` (classes, classes) is a confusion matrix.
    """
    counts, right = matrix.sum(1), matrix.diagonal()
    held = np.flatnonzero(counts)
    order = held[np.argsort(right[held] / counts[held], kind="stable")]
    with drawing(path, _size(order.size), names) as figure:
        mean = balanced_accuracy(per_class(matrix)) if held.size else 0.0
        panels = _panels(figure, order.size)
        for axes, part in panels:
            places = order[part]
            shares = right[places] / counts[places]
            ends = np.array([wilson(int(right[n]), int(counts[n])) for n in places]).reshape(-1, 2)
            errors = np.abs(ends.T - shares)
            axes.barh(
                range(places.size),
                shares,
                color=BLUE,
                alpha=0.75,
                xerr=errors if places.size else None,
                error_kw={"ecolor": "#333333", "elinewidth": 0.8},
            )
            axes.axvline(mean, color=GREY, linestyle=":")
            words = [f"{names[n]}  ({counts[n]})" for n in places]
            _name_rows(axes, words, is_small=len(panels) > 1, rows=panels[0][1].stop)
            axes.set_xlim(0, 1)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        panels[0][0].set_title(f"{title}; dotted: balanced accuracy, {mean:.1%}", pad=12)


def draw_classes(path: Path, names: Sequence[str], counts: Mapping[str, Sequence[int]]) -> None:
    """Draw how many samples each class has in each part; `counts` are by part, then by class."""
    with drawing(path, _size(len(names)), names) as figure:
        panels = _panels(figure, len(names))
        widest = max((sum(row) for row in zip(*counts.values(), strict=True)), default=1)
        for axes, part in panels:
            here = names[part]
            before = np.zeros(len(here))
            for name, of_part in counts.items():
                width = np.asarray(of_part[part])
                axes.barh(range(len(here)), width, left=before, color=PART_COLOURS[name])
                before += width
            _name_rows(axes, here, is_small=len(panels) > 1, rows=panels[0][1].stop)
            axes.set_xlim(0, max(widest, 1) * 1.02)
        panels[0][0].set_title("Samples by class and part", pad=26)
        _key(panels[0][0], {name: name for name in counts})


def draw_groups(path: Path, sizes: Mapping[str, Ints]) -> None:
    """Draw the sizes of the groups (writers, pages, clusters) in each part.

    Each large group is a bar, the largest first. If all groups are small, the bars count the groups
    of each size. `sizes` are the numbers of samples in the groups, by part.
    """
    largest = max((int(size.max(initial=0)) for size in sizes.values()), default=0)
    with drawing(path, WIDE) as figure:
        axes = figure.subplots()
        more = _draw_sizes(axes, sizes) if largest <= SMALL_GROUP else _draw_each(axes, sizes)
        axes.set_title(f"Samples by group; a group is in one part only{more}", pad=26)
        axes.grid(axis="y")
        axes.set_ylim(0, None)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        _key(axes, {name: f"{name}: {size.size} groups" for name, size in sizes.items()})


def _draw_sizes(axes: Axes, sizes: Mapping[str, Ints]) -> str:
    before = np.zeros(SMALL_GROUP + 1)
    for name, size in sizes.items():
        counts = np.bincount(size, minlength=SMALL_GROUP + 1)
        axes.bar(range(counts.size), counts, bottom=before, color=PART_COLOURS[name])
        before += counts
    axes.set(xlabel="samples in a group", ylabel="groups", xlim=(0.4, SMALL_GROUP + 0.6))
    axes.set_xticks(range(1, SMALL_GROUP + 1))
    return ""


def _draw_each(axes: Axes, sizes: Mapping[str, Ints]) -> str:
    """Draw a bar for each group of several samples; return a text about the groups not drawn."""
    parts = np.concatenate([np.full(size.size, name) for name, size in sizes.items()])
    all_sizes = np.concatenate(list(sizes.values()))
    order = np.argsort(-all_sizes, kind="stable")
    order = order[all_sizes[order] > 1]
    shown = order[:GROUPS]
    for name in sizes:
        here = np.flatnonzero(parts[shown] == name)
        axes.bar(here, all_sizes[shown[here]], color=PART_COLOURS[name], width=1)
    axes.set(ylabel="samples", xlabel="groups, the largest first", xticks=[])
    axes.set_xlim(-1, max(40, shown.size))  # so that two groups do not fill the whole width
    rest = all_sizes.size - order.size
    hidden = [f"{rest} groups of one sample"] if rest else []
    if order.size > shown.size:
        hidden.append(f"{order.size - shown.size} smaller ones")
    return f"; not drawn: {', '.join(hidden)}" if hidden else ""
