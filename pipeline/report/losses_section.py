"""The report's section about the images with the highest loss."""

from __future__ import annotations

from pipeline.report.blocks import Missing
from pipeline.report.galleries import Data, Planned, Shown, predictions_of
from pipeline.report.items import Definition, Images
from pipeline.report.wording import SETS

SHOWN = 24


def of_losses(data: Data) -> Planned | Missing:
    """Choose the images with the highest loss."""
    found = predictions_of(data)
    if isinstance(found, Missing):
        return found
    samples = []
    for row in sorted(found, key=lambda row: -row.loss)[:SHOWN]:
        is_correct = row.label == row.predicted
        verdict = "correct" if is_correct else f"labelled {data.class_name(row.label)}"
        predicted = f"predicted {data.class_name(row.predicted)}, {row.probability:.0%}"
        samples.append(Shown(row.sample_id, f"{predicted} ({verdict}), {SETS[row.part]}"))
    return Planned("Images with the highest loss", [("", samples)] if samples else [])


LOSSES = Definition("losses", "Highest losses", [Images(of_losses)])
