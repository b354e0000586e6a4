"""The report's section about training: stages, curves and epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.blocks import Block, Cell, Number, Table, Text, formatted
from pipeline.report.items import Chart, Definition, Report

MEASURES: dict[str, tuple[str, Any, Any]] = {  # key of a stage -> words, format, direction
    "epochs": ("epochs", "count", ""),
    "lr_suggested": ("suggested learning rate", "plain", ""),
    "train_loss": ("training loss", "loss", "lower"),
    "valid_loss": ("validation loss", "loss", "lower"),
    "accuracy": ("validation accuracy", "share", "higher"),
    "balanced_accuracy": ("balanced validation accuracy", "share", "higher"),
}
CURVES = ("train_loss", "valid_loss", "accuracy", "balanced_accuracy")


def trained(report: Mapping[str, Any]) -> list[Block]:
    """Return the settings and results of each stage."""
    stages = {name: report[name] for name in ("stage_1", "stage_2") if name in report}
    rows: list[Sequence[Cell]] = [
        ("trained layers", *(str(stage["layers"]) for stage in stages.values())),
        ("learning rate", *(_rate(stage["lr"]) for stage in stages.values())),
    ]
    for key, (words, as_format, better) in MEASURES.items():
        numbers = [Number(stage[key], as_format, better) for stage in stages.values()]
        rows.append((words, *numbers))
    header = ("stage", *(name.replace("_", " ") for name in stages))
    return [
        Text(
            f"Training set: {report['train']} samples of {report['classes']} classes. "
            f"Validation set: {report['valid']} samples. "
            f"Temperature: {report['temperature']:.3g}."
        ),
        Table("Stages of training", header, rows),
    ]


def _rate(rate: Any) -> str:
    return " to ".join(f"{each:g}" for each in (rate if isinstance(rate, list) else [rate]))


def epochs(rows: Sequence[Mapping[str, str]]) -> list[Block]:
    """Return the numbers behind the curves, for readers who cannot see the plot."""
    cells = [
        (row["epoch"], row["stage"].replace("_", " "), *(_value(row, key) for key in CURVES))
        for row in rows
    ]
    header = ("epoch", "stage", *(MEASURES[key][0] for key in CURVES))
    return [Table("All epochs", header, cells, is_folded=True)]


def _value(row: Mapping[str, str], key: str) -> str:
    return formatted(float(row[key]), MEASURES[key][1]) if row[key] else "none"


TRAINING = Definition(
    "training",
    "Training",
    [
        Report("train.json", trained),
        Chart("train/history.png", "Loss and accuracy by epoch"),
        Chart("train/lr_find.png", "Loss by learning rate, one curve for each stage"),
        Report("train/history.csv", epochs, is_compared=False),
    ],
)
