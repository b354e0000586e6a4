"""The report's section about the results on the validation and test set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.dataset.split_table import TEST, VALID
from pipeline.model.metrics import METRICS
from pipeline.report.blocks import Block, Cell, Number, Table, Text, formatted
from pipeline.report.items import Chart, Definition, Report
from pipeline.report.wording import SETS

WEAKEST = 12  # classes
WORDS = {  # for keys of evaluate.json that do not explain themselves
    "count": "samples",
    "right": "correct",
    "balanced_accuracy": "balanced accuracy (mean recall of the classes)",
    "top_3": "top-3 accuracy",
    "macro_f1": "macro-averaged F1",
    "calibration_error_as_trained": "calibration error before calibration",
}
HIDDEN = {"error_rate"}  # 1 - accuracy


def measures() -> Iterator[tuple[str, Any, Any]]:
    """Yield (key in evaluate.json, format, direction) for each row: counts, then the metrics."""
    yield "count", "count", ""
    yield "right", "count", ""
    for name, metric in METRICS.items():
        if name not in HIDDEN and not name.endswith(("_low", "_high")):  # intervals have no rows
            yield name, "loss" if name == "loss" else "share", metric.direction
    yield "calibration_error_as_trained", "share", "lower"


def evaluated(report: Mapping[str, Any]) -> list[Block]:
    """Return each measure of the validation and test set, with confidence intervals."""
    parts = {name: report[name] for name in (VALID, TEST) if report[name]["count"]}
    if not parts:
        return [
            Text("Both the validation and the test set are empty: there is nothing to measure.")
        ]
    rows: list[Sequence[Cell]] = []
    for key, as_format, better in measures():
        numbers = [
            Number(
                part.get(key), as_format, better, part.get(f"{key}_low"), part.get(f"{key}_high")
            )
            for part in parts.values()
        ]
        rows.append((WORDS.get(key, key.replace("_", " ")), *numbers))
    for key in ("lowest", "median", "highest"):
        values = [part.get("accuracy_by_group", {}).get(key) for part in parts.values()]
        if any(value is not None for value in values):
            numbers = [Number(value, "share", "higher") for value in values]
            rows.append((f"accuracy by group (writer or page): {key}", *numbers))
    return [
        Table("Measured performance", ("metric", *(SETS[name] for name in parts)), rows),
        Text(f"Chance accuracy: {1 / report['classes']:.1%}."),
    ]


def weakest(rows: Sequence[Mapping[str, str]]) -> list[Block]:
    """Return the classes with the lowest accuracy."""
    held_out = [row for row in rows if int(row["count"])]
    worst = sorted(held_out, key=lambda row: (float(row["accuracy"]), row["label"]))[:WEAKEST]
    cells: list[Sequence[Cell]] = []
    for row in worst:
        name = " ".join(filter(None, (row["name"], row["romanised"])))
        counts = (Number(int(row[key])) for key in ("count", "right"))
        shares = (
            formatted(float(row[key]), "share") if row[key] else "none"
            for key in ("accuracy", "precision")
        )
        cells.append((name, *counts, *shares))
    header = ("class", "samples", "correct", "accuracy", "precision")
    return [Table("Classes with the lowest accuracy", header, cells)]


RESULTS = Definition(
    "results",
    "Results",
    [
        Report("evaluate.json", evaluated),
        Chart("evaluate/per_class.png", "Accuracy of each class with its 95% CI, lowest first"),
        Chart("evaluate/calibration.png", "Accuracy by predicted probability"),
        Report("evaluate/per_class.csv", weakest, is_compared=False),
    ],
)
