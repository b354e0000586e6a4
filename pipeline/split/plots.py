"""What a split holds, for the eye: classes and groups as bars, pictures of each, duplicates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pipeline.charts.bars import draw_classes, draw_groups
from pipeline.charts.contact_sheet import APART, CAPTION, CELL, GAP, draw_sheet, pick
from pipeline.charts.fonts import both
from pipeline.charts.pair_sheet import draw_duplicates
from pipeline.core.files import write_csv
from pipeline.dataset.columns import CONTENT_ID, SAMPLE_ID
from pipeline.dataset.labels import class_names
from pipeline.dataset.paths import plots_folder, sheet_path
from pipeline.dataset.split_table import OUT, PARTS
from pipeline.dataset.stored_images import read_images

SHOWN = 256  # classes on the sheet of pictures
FEW = 16  # classes; up to here 8 pictures of each, then 3
SHAPE = 1.6  # width by height of the sheet


def draw_balance(
    dataset: str, samples: pa.Table, label: Sequence[str], part: Sequence[str], group: Sequence[str]
) -> None:
    """Write what there is to look at: charts to the reports, pictures beside the data.

    `label`, `part` ("out" among them) and `group` are of each of the samples.
    """
    names = class_names(samples)
    labels = sorted(set(label))
    labels_at, parts_at = np.unique(label, return_inverse=True)[1], np.array(part)
    counts = {
        name: np.bincount(labels_at[parts_at == name], minlength=len(labels)).tolist()
        for name in (*PARTS, OUT)
    }
    called = names.of(labels)
    folder = plots_folder(dataset, "split")
    rows = [
        (key, known.name, known.romanised or "", *numbers)
        for key, known, *numbers in zip(labels, called, *counts.values(), strict=True)
    ]
    write_csv(folder / "classes.csv", ("label", "name", "romanised", *counts), rows)
    shown = [both(known.label, known.name, known.romanised) for known in called]
    draw_classes(folder / "classes.png", shown, counts)
    groups = np.array(group, dtype=object)
    sizes = {
        name: np.unique(groups[parts_at == name].astype(str), return_counts=True)[1]
        for name in PARTS
    }
    draw_groups(folder / "groups.png", sizes)
    draw_duplicates(sheet_path(dataset, "duplicates"), dataset)
    is_in = parts_at != OUT
    columns = (label, samples[CONTENT_ID].to_pylist(), samples[SAMPLE_ID].to_pylist())
    in_use = [row for row, use in zip(zip(*columns, strict=True), is_in, strict=True) if use]
    draw_classes_sheet(dataset, in_use, dict(zip(labels, shown, strict=True)))


def draw_classes_sheet(
    dataset: str, rows: Sequence[tuple[str, str, str]], names: dict[str, str]
) -> None:
    """Draw a few pictures of each class, of those in use: (label, content id, sample id)."""
    labels = sorted({row[0] for row in rows})[:SHOWN]
    count = 8 if len(labels) <= FEW else 3
    ids = pick((row for row in rows if row[0] in set(labels)), count)
    images = read_images(dataset, [name for some in ids.values() for name in some])
    wide, tall = count * (CELL + GAP) + APART, CAPTION + CELL + GAP
    beside = max(1, round(math.sqrt(SHAPE * len(labels) * tall / wide)))
    draw_sheet(
        sheet_path(dataset, "classes"),
        {names[label]: [images[name] for name in some] for label, some in ids.items()},
        width=beside * count,
        colours=None,
    )
