"""Results to look at: tables, plots and the images with the largest losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.charts.bars import draw_per_class
from pipeline.charts.contact_sheet import Cell, draw_cells
from pipeline.charts.fonts import both, tick
from pipeline.core.files import write_csv
from pipeline.dataset.columns import LABEL, LOSS, PART, PREDICTED, PROBABILITY, SAMPLE_ID
from pipeline.dataset.labels import ClassName
from pipeline.dataset.paths import plots_folder, sheet_path
from pipeline.dataset.split_table import TEST, VALID, Part
from pipeline.dataset.stored_images import read_images
from pipeline.evaluate.plots import draw_calibration, draw_confusion, draw_most_confused
from pipeline.model.metrics import Floats, Ints, confusion, losses, most_confused, per_class
from pipeline.model.network import Card

CONFUSED_SHOWN = 100  # pairs; the confusion matrix has all of them
SETS = {VALID: "validation set", TEST: "test set"}  # for people
GROUP_AT_LEAST = 5  # samples; in a smaller group, the accuracy is mostly chance


@dataclass(frozen=True)
class Evaluated:
    """A part and the model's predictions for it."""

    name: str
    part: Part
    actual: Ints
    probabilities: Floats  # (samples, classes), calibrated
    as_trained: Floats  # (samples, classes), before calibration


class TopLoss(NamedTuple):
    """A sample with a large loss."""

    sample_id: str
    part: str
    actual: ClassName
    predicted: ClassName
    probability: float  # of the predicted class
    loss: float

    def lines(self) -> tuple[str, str]:
        """Return two lines of a caption: the label and the prediction."""
        label, predicted = (
            both(known.label, known.name, known.romanised)
            for known in (self.actual, self.predicted)
        )
        return label, f"predicted {predicted}, {self.probability:.0%}"


def by_group(part: Evaluated) -> list[tuple[str, int, int]]:
    """Return (group, samples, correct) for each known writer or source."""
    is_right = part.probabilities.argmax(1) == part.actual
    counts: dict[str, list[int]] = {}
    for group, right in zip(part.part.groups, is_right, strict=True):
        if group:
            count = counts.setdefault(group, [0, 0])
            count[0] += 1
            count[1] += int(right)
    return [
        (group, count, right)
        for group, (count, right) in sorted(counts.items())
        if count >= GROUP_AT_LEAST
    ]


def write_reports(dataset: str, shown: Evaluated, card: Card) -> None:
    """Write the tables and plots of one part: test, or valid if there is no test set."""
    folder = plots_folder(dataset, "evaluate")
    labels = [known.label for known in card.classes]
    predicted = shown.probabilities.argmax(1)
    matrix = confusion(shown.actual, predicted, len(labels))
    pairs = [(labels[a], labels[p]) for a, p in zip(shown.actual, predicted, strict=True)]
    write_csv(folder / "confusion.csv", ("actual", "predicted"), pairs)
    confused = [
        (f"{labels[a]} as {labels[p]}", labels[a], labels[p], *_names(card, a, p), count)
        for a, p, count in most_confused(matrix)[:CONFUSED_SHOWN]
    ]
    header = ("pair", "actual", "predicted", "actual_name", "predicted_name", "count")
    write_csv(folder / "most_confused.csv", header, confused)
    rows = per_class(matrix)
    measures = ("count", "right", "precision", "f1", "accuracy")
    table = [
        (known.label, known.name, known.romanised or "", *(row[name] for name in measures))
        for known, row in zip(card.classes, rows, strict=True)
    ]
    write_csv(folder / "per_class.csv", ("label", "name", "romanised", *measures), table)
    draw_reports(folder, shown, matrix, card.classes)


def draw_reports(
    folder: Path, shown: Evaluated, matrix: Ints, classes: Sequence[ClassName]
) -> None:
    """Draw the plots of one part, with class names in a script that this machine has a font for."""
    short = [tick(known.label, known.name, known.romanised) for known in classes]
    full = [both(known.label, known.name, known.romanised) for known in classes]
    part = f"{SETS[shown.name]}, {len(shown.actual)} samples"
    draw_confusion(folder / "confusion.png", matrix, short, f"Confusion matrix: {part}")
    draw_most_confused(folder / "most_confused.png", matrix, full, f"Most confused classes: {part}")
    draw_per_class(folder / "per_class.png", matrix, full, f"Accuracy by class: {part}")
    draw_calibration(
        folder / "calibration.png", shown.probabilities, shown.as_trained, shown.actual
    )


def write_groups(dataset: str, evaluated: Sequence[Evaluated]) -> None:
    """Write the accuracy of each writer or source."""
    rows = [
        (part.name, group, count, right, right / count)
        for part in evaluated
        for group, count, right in by_group(part)
    ]
    path = plots_folder(dataset, "evaluate") / "per_group.csv"
    write_csv(path, ("part", "group", "count", "right", "accuracy"), rows)


def _names(card: Card, *places: int) -> list[str]:
    return [card.classes[place].name for place in places]


def write_top_losses(dataset: str, evaluated: Sequence[Evaluated], card: Card, count: int) -> None:
    """Write the samples with the largest losses, as CSV and as a sheet of images."""
    worst = []
    for part in evaluated:
        each = losses(part.probabilities, part.actual)
        predicted = part.probabilities.argmax(1)
        for row in np.argsort(-each, kind="stable")[:count]:
            worst.append(
                TopLoss(
                    part.part.sample_ids[row],
                    part.name,
                    card.classes[part.actual[row]],
                    card.classes[predicted[row]],
                    float(part.probabilities[row, predicted[row]]),
                    float(each[row]),
                )
            )
    worst = sorted(worst, key=lambda top: -top.loss)[:count]
    header = (SAMPLE_ID, PART, LABEL, PREDICTED, PROBABILITY, LOSS)
    write_csv(
        plots_folder(dataset, "evaluate") / "top_losses.csv",
        header,
        [
            (
                top.sample_id,
                top.part,
                top.actual.label,
                top.predicted.label,
                top.probability,
                top.loss,
            )
            for top in worst
        ],
    )
    images = read_images(dataset, [top.sample_id for top in worst])
    cells = [Cell(images[top.sample_id], top.lines()) for top in worst]
    draw_cells(sheet_path(dataset, "top_losses"), cells)
