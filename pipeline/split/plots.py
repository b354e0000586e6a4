"""Charts and sheets of a split: sizes of classes and groups, images of each class, duplicates."""

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
from pipeline.dataset.columns import CONTENT_ID, LABEL, ROMANISED, SAMPLE_ID
from pipeline.dataset.labels import class_names
from pipeline.dataset.paths import plots_folder, sheet_path
from pipeline.dataset.split_table import OUT, PARTS
from pipeline.dataset.stored_images import read_images

SHOWN = 256  # classes on the sheet, at most
FEW = 16  # with up to this many classes, the sheet shows 8 images of each, else 3
SHAPE = 1.6  # width of the sheet divided by its height


def draw_balance(
    dataset: str, samples: pa.Table, label: Sequence[str], part: Sequence[str], group: Sequence[str]
) -> None:
    """Write the charts of a split to the reports, and the sheets of images beside the data.

    `label`, `part` (one of PARTS, or OUT) and `group` (n,) are those of the n `samples`. Git must
    not keep the sheets, since the images are other people's.
    """
    names = class_names(samples)
    labels = sorted(set(label))
    label_number, part_of = np.unique(label, return_inverse=True)[1], np.array(part)
    counts = {
        name: np.bincount(label_number[part_of == name], minlength=len(labels)).tolist()
        for name in (*PARTS, OUT)
    }
    classes = names.of(labels)
    folder = plots_folder(dataset, "split")
    rows = [
        (each.label, each.name, each.romanised or "", *numbers)
        for each, *numbers in zip(classes, *counts.values(), strict=True)
    ]
    write_csv(folder / "classes.csv", (LABEL, "name", ROMANISED, *counts), rows)
    shown = [both(each.label, each.name, each.romanised) for each in classes]
    draw_classes(folder / "classes.png", shown, counts)
    groups = np.array(group, dtype=object)
    sizes = {
        name: np.unique(groups[part_of == name].astype(str), return_counts=True)[1]
        for name in PARTS
    }
    draw_groups(folder / "groups.png", sizes)
    draw_duplicates(sheet_path(dataset, "duplicates"), dataset)
    columns = (label, samples[CONTENT_ID].to_pylist(), samples[SAMPLE_ID].to_pylist())
    in_use = [
        row for row, name in zip(zip(*columns, strict=True), part, strict=True) if name != OUT
    ]
    draw_classes_sheet(dataset, in_use, dict(zip(labels, shown, strict=True)))


def draw_classes_sheet(
    dataset: str, rows: Sequence[tuple[str, str, str]], names: dict[str, str]
) -> None:
    """Draw a few images of each class on one sheet.

    `rows` are (label, content id, sample id) of the samples to choose from; `names` maps labels to
    captions.
    """
    labels = sorted({row[0] for row in rows})[:SHOWN]
    count = 8 if len(labels) <= FEW else 3
    picked = pick((row for row in rows if row[0] in set(labels)), count)
    images = read_images(dataset, [sample for ids in picked.values() for sample in ids])
    wide, tall = count * (CELL + GAP) + APART, CAPTION + CELL + GAP
    beside = max(1, round(math.sqrt(SHAPE * len(labels) * tall / wide)))
    draw_sheet(
        sheet_path(dataset, "classes"),
        {names[label]: [images[sample] for sample in ids] for label, ids in picked.items()},
        width=beside * count,
        colours=None,
    )
