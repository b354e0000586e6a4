"""Measure a trained model on the valid and test parts; show where it errs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.charts.bars import draw_per_class
from pipeline.charts.calibration import draw_calibration
from pipeline.charts.confusion import draw_confusion, draw_most_confused
from pipeline.charts.lettering import both, tick
from pipeline.compute import pick_device
from pipeline.errors import PipelineError, Stage
from pipeline.files import replacing, write_csv, write_json
from pipeline.measures import Ints, confusion, losses, most_confused, per_class, softmax, summary
from pipeline.network import Card, ClassName, load_model, predict_logits
from pipeline.params import Evaluate, load_params, section
from pipeline.parts import Part, places, read_parts
from pipeline.pictures import read_pictures
from pipeline.samples import dataset_folder, reports_folder, samples_path
from pipeline.sheet import Cell, draw_cells
from pipeline.sheet import read_pictures as read_images

PARTS = ("valid", "test")
PREDICTIONS = pa.schema(
    {
        "sample_id": pa.string(),
        "content_id": pa.string(),
        "part": pa.string(),
        "label": pa.string(),
        "predicted": pa.string(),
        "probability": pa.float32(),  # of the predicted label
        "label_probability": pa.float32(),
        "loss": pa.float32(),
        "top3": pa.list_(pa.string()),
    }
)
CONFUSED_SHOWN = 100  # pairs; the confusion matrix has the rest
GROUP_AT_LEAST = 5  # samples; fewer say nothing of a hand or a source


@dataclass(frozen=True)
class Judged:
    """A part and what the model makes of it."""

    name: str
    part: Part
    actual: NDArray[np.int64]
    probabilities: NDArray[np.float64]  # (samples, classes), calibrated
    as_trained: NDArray[np.float64]  # the same before calibration


class TopLoss(NamedTuple):
    """A sample that surprised the model."""

    sample_id: str
    part: str
    actual: ClassName
    predicted: ClassName
    sure: float
    loss: float

    def lines(self) -> tuple[str, str]:
        """Return what the sample is said to be, and what the model takes it for."""
        said, taken = (
            both(known.label, known.name, known.romanised)
            for known in (self.actual, self.predicted)
        )
        return said, f"as {taken} {self.sure:.0%}"


@click.command(cls=Stage)
@click.argument("dataset")
def main(dataset: str) -> None:
    """Measure a trained model on validation and test.

    Writes DATASET's metrics, confusion matrix, most confused pairs, table of classes and top
    losses. Reads the safe form of the model alone (safetensors and JSON).

    Example: python -m pipeline.evaluate dances
    """
    evaluate(dataset, section(load_params().evaluate, dataset, "evaluate"))


def evaluate(dataset: str, params: Evaluate) -> None:
    """Judge the parts that were not trained on and write what came out."""
    network, card = load_model(dataset_folder(dataset) / "model")
    labels = [known.label for known in card.classes]
    parts = read_parts(dataset)
    device = pick_device(params.device)
    print(f"{dataset}: {len(labels)} classes, on {device}", file=sys.stderr, flush=True)
    judged = []
    for name in PARTS:
        part = parts[name]
        unknown = sorted(set(part.labels) - set(labels))
        if unknown:
            raise PipelineError(f"{dataset}: the model does not know class {unknown[0]}; train")
        pixels = read_pictures(dataset, name, part.sample_ids, card.view).pixels
        logits = predict_logits(network, pixels, card, device)
        calibrated = softmax(logits, card.temperature)
        judged.append(Judged(name, part, places(part.labels, labels), calibrated, softmax(logits)))
    write_predictions(dataset, judged, labels)
    write_reports(dataset, judged[-1] if len(judged[-1].part) else judged[0], card)
    write_groups(dataset, judged)
    write_top_losses(dataset, judged, card, params.top_losses)
    write_json(reports_folder(dataset) / "evaluate.json", metrics(judged, card))


def metrics(judged: Sequence[Judged], card: Card) -> dict[str, Any]:
    """Return the metrics of each part; calibration before and after its temperature."""
    found: dict[str, Any] = {"classes": len(card.classes), "temperature": card.temperature}
    for part in judged:
        found[part.name] = summary(part.probabilities, part.actual)
        if len(part.actual):
            before = summary(part.as_trained, part.actual)["calibration_error"]
            found[part.name]["calibration_error_as_trained"] = before
        shares = [right / count for _, count, right in by_group(part)]
        if shares:
            low, middle, high = np.quantile(shares, (0, 0.5, 1)).tolist()
            group = {"count": len(shares), "lowest": low, "median": middle, "highest": high}
            found[part.name]["accuracy_by_group"] = group
    return found


def by_group(part: Judged) -> list[tuple[str, int, int]]:
    """Return (group, samples, right) of each writer or source, where these are known."""
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


def write_predictions(dataset: str, judged: Sequence[Judged], labels: list[str]) -> None:
    """Write predictions.parquet: a row a sample, as PREDICTIONS says."""
    columns: dict[str, list[Any]] = {name: [] for name in PREDICTIONS.names}
    for part in judged:
        best = np.argsort(-part.probabilities, axis=1, kind="stable")[:, :3]
        rows = np.arange(len(part.actual))
        columns["sample_id"] += part.part.sample_ids
        columns["content_id"] += part.part.content_ids
        columns["part"] += [part.name] * len(rows)
        columns["label"] += part.part.labels
        columns["predicted"] += [labels[place] for place in best[:, 0]]
        columns["probability"] += part.probabilities[rows, best[:, 0]].tolist()
        columns["label_probability"] += part.probabilities[rows, part.actual].tolist()
        columns["loss"] += losses(part.probabilities, part.actual).tolist()
        columns["top3"] += [[labels[place] for place in places] for places in best]
    with replacing(dataset_folder(dataset) / "predictions.parquet") as temporary:
        pq.write_table(pa.table(columns, schema=PREDICTIONS), temporary, compression="zstd")


def write_reports(dataset: str, shown: Judged, card: Card) -> None:
    """Write the tables and pictures of one part: test, or valid where there is no test."""
    folder = reports_folder(dataset) / "evaluate"
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


def draw_reports(folder: Path, shown: Judged, matrix: Ints, classes: Sequence[ClassName]) -> None:
    """Draw the pictures of one part, in the letters that the fonts of this machine have."""
    short = [tick(known.label, known.name, known.romanised) for known in classes]
    full = [both(known.label, known.name, known.romanised) for known in classes]
    part = f"{shown.name} part, {len(shown.actual)} samples"
    draw_confusion(folder / "confusion.png", matrix, short, f"Confusion, {part}")
    draw_most_confused(folder / "most_confused.png", matrix, full, f"Most confused, {part}")
    draw_per_class(folder / "per_class.png", matrix, full, f"Accuracy of each class, {part}")
    draw_calibration(
        folder / "calibration.png", shown.probabilities, shown.as_trained, shown.actual
    )


def write_groups(dataset: str, judged: Sequence[Judged]) -> None:
    """Write each writer's or source's accuracy."""
    rows = [
        (part.name, group, count, right, right / count)
        for part in judged
        for group, count, right in by_group(part)
    ]
    path = reports_folder(dataset) / "evaluate" / "per_group.csv"
    write_csv(path, ("part", "group", "count", "right", "accuracy"), rows)


def _names(card: Card, *places: int) -> list[str]:
    return [card.classes[place].name for place in places]


def write_top_losses(dataset: str, judged: Sequence[Judged], card: Card, count: int) -> None:
    """Write the samples that surprised the model most, as CSV and with their pictures."""
    worst = []
    for part in judged:
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
    header = ("sample_id", "part", "label", "predicted", "probability", "loss")
    write_csv(
        reports_folder(dataset) / "evaluate" / "top_losses.csv",
        header,
        [
            (top.sample_id, top.part, top.actual.label, top.predicted.label, top.sure, top.loss)
            for top in worst
        ],
    )
    images = read_images(samples_path(dataset), [top.sample_id for top in worst])
    cells = [Cell(images[top.sample_id], top.lines()) for top in worst]
    draw_cells(dataset_folder(dataset) / "top_losses.png", cells)


if __name__ == "__main__":
    main()
