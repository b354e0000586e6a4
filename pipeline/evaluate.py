"""Measure a trained model on the valid and test parts; show where it errs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.compute import pick_device
from pipeline.errors import PipelineError, Stage
from pipeline.files import replacing, write_json
from pipeline.measures import losses, softmax, summary
from pipeline.mistakes import Judged, by_group, write_groups, write_reports, write_top_losses
from pipeline.network import Card, load_model, predict_logits
from pipeline.params import Evaluate, load_params, section
from pipeline.parts import places, read_parts
from pipeline.pictures import read_pictures
from pipeline.samples import dataset_folder, reports_folder

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


if __name__ == "__main__":
    main()
