"""Stage `evaluate`: metrics, plots and largest losses on the validation and test sets."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click
import numpy as np

from pipeline.core.errors import PipelineError, Stage
from pipeline.core.files import write_json
from pipeline.core.params import Evaluate, load_params, section
from pipeline.dataset.columns import (
    CONTENT_ID,
    LABEL,
    LABEL_PROBABILITY,
    LOSS,
    PART,
    PREDICTED,
    PROBABILITY,
    SAMPLE_ID,
    TOP3,
)
from pipeline.dataset.paths import model_folder, report_path
from pipeline.dataset.predictions import SCHEMA, write_predictions
from pipeline.dataset.split_table import TEST, VALID, label_indices, read_parts
from pipeline.evaluate.results import (
    Evaluated,
    by_group,
    write_groups,
    write_reports,
    write_top_losses,
)
from pipeline.model.device import pick_device
from pipeline.model.inputs import decoded_images
from pipeline.model.metrics import calibration_error, losses, softmax, summary
from pipeline.model.network import Card, load_model, predict_logits

EVALUATED = (VALID, TEST)


@click.command(cls=Stage)
@click.argument("dataset")
def main(dataset: str) -> None:
    """Measure a trained model on the validation and test sets.

    Writes DATASET's metrics, confusion matrix, most confused pairs, table of classes and largest
    losses. Reads the model as safetensors and JSON, never as a pickle.

    Example: python -m pipeline.evaluate dances
    """
    evaluate(dataset, section(load_params(), "evaluate", dataset))


def evaluate(dataset: str, params: Evaluate) -> None:
    """Evaluate the model on the validation and test sets, and write all results."""
    network, card = load_model(model_folder(dataset))
    labels = [known.label for known in card.classes]
    parts = read_parts(dataset)
    device = pick_device(params.device)
    print(f"{dataset}: {len(labels)} classes, on {device}", file=sys.stderr, flush=True)
    evaluated = []
    for name in EVALUATED:
        part = parts[name]
        unknown = sorted(set(part.labels) - set(labels))
        if unknown:
            raise PipelineError(
                f"{dataset}: {name} has class {unknown[0]}, which the model was not trained on; "
                f"run `dvc repro train@{dataset}`"
            )
        pixels = decoded_images(dataset, name, part.sample_ids, card.view).pixels
        logits = predict_logits(network, pixels, card, device)
        calibrated = softmax(logits, card.temperature)
        evaluated.append(
            Evaluated(name, part, label_indices(part.labels, labels), calibrated, softmax(logits))
        )
    write_predictions(dataset, predictions_of(evaluated, labels))
    write_reports(dataset, evaluated[-1] if len(evaluated[-1].part) else evaluated[0], card)
    write_groups(dataset, evaluated)
    write_top_losses(dataset, evaluated, card, params.top_losses)
    write_json(report_path(dataset, "evaluate"), metrics(evaluated, card))


def metrics(evaluated: Sequence[Evaluated], card: Card) -> dict[str, Any]:
    """Return the metrics of each part, with the calibration error before and after scaling."""
    found: dict[str, Any] = {"classes": len(card.classes), "temperature": card.temperature}
    for part in evaluated:
        found[part.name] = summary(part.probabilities, part.actual)
        if len(part.actual):
            before = calibration_error(part.as_trained, part.actual)
            found[part.name]["calibration_error_as_trained"] = before
        shares = [right / count for _, count, right in by_group(part)]
        if shares:
            low, middle, high = np.quantile(shares, (0, 0.5, 1)).tolist()
            group = {"count": len(shares), "lowest": low, "median": middle, "highest": high}
            found[part.name]["accuracy_by_group"] = group
    return found


def predictions_of(evaluated: Sequence[Evaluated], labels: list[str]) -> dict[str, list[Any]]:
    """Return the columns of predictions.parquet."""
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    for part in evaluated:
        best = np.argsort(-part.probabilities, axis=1, kind="stable")[:, :3]
        rows = np.arange(len(part.actual))
        columns[SAMPLE_ID] += part.part.sample_ids
        columns[CONTENT_ID] += part.part.content_ids
        columns[PART] += [part.name] * len(rows)
        columns[LABEL] += part.part.labels
        columns[PREDICTED] += [labels[place] for place in best[:, 0]]
        columns[PROBABILITY] += part.probabilities[rows, best[:, 0]].tolist()
        columns[LABEL_PROBABILITY] += part.probabilities[rows, part.actual].tolist()
        columns[LOSS] += losses(part.probabilities, part.actual).tolist()
        columns[TOP3] += [[labels[place] for place in places] for places in best]
    return columns
