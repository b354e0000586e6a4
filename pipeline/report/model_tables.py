"""What the reports of the model say, as tables: pure functions of their values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.commands.status import share
from pipeline.report.blocks import Block, Cell, Number, Table, Text, shown

Report = Mapping[str, Any]
Rows = Sequence[Mapping[str, str]]

SHOWN = 12  # rows of what could be thousands
MEASURES: dict[str, tuple[str, Any, Any]] = {  # of evaluate -> words, shape, which way is good
    "count": ("samples", "count", ""),
    "right": ("right", "count", ""),
    "accuracy": ("accuracy", "share", "higher"),
    "class_averaged_accuracy": ("accuracy, averaged over classes", "share", "higher"),
    "top_3": ("right among the first three", "share", "higher"),
    "macro_f1": ("F1, averaged over classes", "share", "higher"),
    "loss": ("loss", "loss", "lower"),
    "calibration_error": ("calibration error", "share", "lower"),
    "calibration_error_as_trained": ("calibration error as trained", "share", "lower"),
}
OF_A_STAGE: dict[str, tuple[Any, Any]] = {
    "epochs": ("count", ""),
    "lr_suggested": ("plain", ""),
    "train_loss": ("loss", "lower"),
    "valid_loss": ("loss", "lower"),
    "accuracy": ("share", "higher"),
    "class_averaged_accuracy": ("share", "higher"),
}


def trained(report: Report) -> list[Block]:
    """Tell how far each stage of the training came."""
    stages = {name: report[name] for name in ("stage_1", "stage_2") if name in report}
    rows: list[Sequence[Cell]] = [
        ("layers that learn", *(str(stage["layers"]) for stage in stages.values())),
        ("learning rate", *(_rate(stage["lr"]) for stage in stages.values())),
    ]
    for key, (shape, better) in OF_A_STAGE.items():
        numbers = [Number(stage[key], shape, better) for stage in stages.values()]
        rows.append((key.replace("lr_", "learning rate ").replace("_", " "), *numbers))
    header = ("at its end", *(name.replace("_", " ") for name in stages))
    return [
        Text(
            f"Trained on {report['train']} samples of {report['classes']} classes, watched on "
            f"{report['valid']}. Temperature {report['temperature']:.3g}."
        ),
        Table("Stages of the training", header, rows),
    ]


def _rate(rate: Any) -> str:
    return " to ".join(f"{each:g}" for each in (rate if isinstance(rate, list) else [rate]))


def evaluated(report: Report) -> list[Block]:
    """Tell how good the model is, and how sure that is."""
    parts = {name: report[name] for name in ("valid", "test") if report[name]["count"]}
    if not parts:
        return [Text("No sample is held out, so nothing could be measured.")]
    rows: list[Sequence[Cell]] = []
    for key, (words, shape, better) in MEASURES.items():
        of = key.removesuffix("_accuracy")  # what the ends of its interval are called by
        ends = [(part.get(f"{of}_low"), part.get(f"{of}_high")) for part in parts.values()]
        values = [part[key] for part in parts.values()]
        numbers = [
            Number(value, shape, better, *both) for value, both in zip(values, ends, strict=True)
        ]
        rows.append((words, *numbers))
    for key in ("lowest", "median", "highest"):
        of_groups = [part.get("accuracy_by_group", {}).get(key) for part in parts.values()]
        if any(value is not None for value in of_groups):
            cells = [Number(value, "share", "higher") for value in of_groups]
            rows.append((f"accuracy of groups (writers, pages): {key}", *cells))
    chance = f"By chance alone it would be right in {share(1 / report['classes'])}."
    return [Table("How good the model is", ("measure", *parts), rows), Text(chance)]


def results_at_a_glance(report: Report) -> list[Sequence[Cell]]:
    """Return the rows of the results for the first table of the page."""
    rows: list[Sequence[Cell]] = []
    for name in ("test", "valid"):
        part = report[name]
        if part["count"]:
            ends = part["class_averaged_low"], part["class_averaged_high"]
            averaged = Number(part["class_averaged_accuracy"], "share", "higher", *ends)
            rows.append((f"accuracy on {name}, averaged over classes", averaged))
    return rows


def history(rows: Rows) -> list[Block]:
    """Return the curve's numbers, for those who cannot see it."""
    names = ("train_loss", "valid_loss", "accuracy", "class_averaged_accuracy")
    cells = [
        (row["epoch"], row["stage"].replace("_", " "), *(_maybe(row[name], name) for name in names))
        for row in rows
    ]
    header = ("epoch", "stage", *(name.replace("_", " ") for name in names))
    return [Table("Every epoch", header, cells, is_long=True)]


def _maybe(text: str, name: str) -> str:
    if not text:
        return "none"
    return shown(float(text), "loss" if name.endswith("loss") else "share")


def weakest(rows: Rows) -> list[Block]:
    """Return the classes with the lowest accuracy."""
    held = [row for row in rows if int(row["count"])]
    worst = sorted(held, key=lambda row: (float(row["accuracy"]), row["label"]))[:SHOWN]
    cells: list[Sequence[Cell]] = []
    for row in worst:
        name = " ".join(filter(None, (row["name"], row["romanised"])))
        counts = (Number(int(row[key])) for key in ("count", "right"))
        shares = (_maybe(row[key], key) for key in ("accuracy", "precision"))
        cells.append((name, *counts, *shares))
    header = ("class", "samples", "right", "accuracy", "precision")
    return [Table(f"The {len(cells)} weakest classes", header, cells)]


def confused(rows: Rows) -> list[Block]:
    """Return the pairs that are most often confused."""
    cells = [
        (f"{row['actual_name']} taken for {row['predicted_name']}", Number(int(row["count"])))
        for row in rows[:SHOWN]
    ]
    if not cells:
        return [Text("No sample of this part was taken for another class.")]
    return [Table("Most confused pairs", ("pair", "samples"), cells)]
