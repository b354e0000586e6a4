"""What a split holds, for the eye: classes and groups as bars, pictures of each, duplicates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.charts.bars import draw_classes, draw_groups
from pipeline.charts.lettering import both
from pipeline.files import write_csv
from pipeline.lookalikes import draw_duplicates
from pipeline.samples import dataset_folder, reports_folder, samples_path
from pipeline.sheet import APART, CAPTION, CELL, GAP, draw_sheet, pick, read_pictures

PARTS = ("train", "valid", "test")
SHOWN = 256  # classes on the sheet of pictures
FEW = 16  # classes; up to here 8 pictures of each, then 3
SHAPE = 1.6  # width by height of the sheet


class Named(NamedTuple):
    """What people call a label."""

    name: str
    romanised: str | None


def draw_balance(
    dataset: str, samples: pa.Table, label: Sequence[str], part: Sequence[str], group: Sequence[str]
) -> None:
    """Write what there is to look at: charts to the reports, pictures beside the data.

    `label`, `part` ("out" among them) and `group` are of each of the samples.
    """
    names = names_of(samples)
    labels = sorted(set(label))
    labels_at, parts_at = np.unique(label, return_inverse=True)[1], np.array(part)
    counts = {
        name: np.bincount(labels_at[parts_at == name], minlength=len(labels)).tolist()
        for name in (*PARTS, "out")
    }
    called = [names.get(key, Named(key, None)) for key in labels]
    folder = reports_folder(dataset) / "split"
    rows = [
        (key, known.name, known.romanised or "", *numbers)
        for key, known, *numbers in zip(labels, called, *counts.values(), strict=True)
    ]
    write_csv(folder / "classes.csv", ("label", "name", "romanised", *counts), rows)
    shown = [both(key, *known) for key, known in zip(labels, called, strict=True)]
    draw_classes(folder / "classes.png", shown, counts)
    groups = np.array(group, dtype=object)
    sizes = {
        name: np.unique(groups[parts_at == name].astype(str), return_counts=True)[1]
        for name in PARTS
    }
    draw_groups(folder / "groups.png", sizes)
    draw_duplicates(dataset_folder(dataset) / "duplicates.png", dataset)
    is_in = parts_at != "out"
    columns = (label, samples["content_id"].to_pylist(), samples["sample_id"].to_pylist())
    in_use = [row for row, use in zip(zip(*columns, strict=True), is_in, strict=True) if use]
    draw_classes_sheet(dataset, in_use, dict(zip(labels, shown, strict=True)))


def names_of(samples: pa.Table) -> dict[str, Named]:
    """Return what people call each label that samples came with."""
    unique = samples.group_by(["label", "label_name", "romanised"]).aggregate([]).to_pylist()
    ordered = sorted(unique, key=lambda row: str(row["label_name"]))
    return {row["label"]: Named(row["label_name"], row["romanised"]) for row in ordered}


def draw_classes_sheet(
    dataset: str, rows: Sequence[tuple[str, str, str]], names: dict[str, str]
) -> None:
    """Draw a few pictures of each class, of those in use: (label, content id, sample id)."""
    labels = sorted({row[0] for row in rows})[:SHOWN]
    count = 8 if len(labels) <= FEW else 3
    ids = pick((row for row in rows if row[0] in set(labels)), count)
    images = read_pictures(samples_path(dataset), [name for some in ids.values() for name in some])
    wide, tall = count * (CELL + GAP) + APART, CAPTION + CELL + GAP
    beside = max(1, round(math.sqrt(SHAPE * len(labels) * tall / wide)))
    draw_sheet(
        dataset_folder(dataset) / "classes.png",
        {names[label]: [images[name] for name in some] for label, some in ids.items()},
        width=beside * count,
        colours=None,
    )
