"""The report's summary: the few most important numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.dataset.split_table import TEST, VALID
from pipeline.report.blocks import Block, Cell, Missing, Number, Table
from pipeline.report.changes import compared
from pipeline.report.decisions_section import touching_held_out
from pipeline.report.items import Context, Definition, interpreted
from pipeline.report.runs import Run
from pipeline.report.wording import SETS, leak_name

Row = Sequence[Cell]


def of_results(report: Mapping[str, Any]) -> list[Row]:
    """Return the balanced accuracy of the test and validation set, with its interval."""
    rows: list[Row] = []
    for name in (TEST, VALID):
        part = report[name]
        if part["count"]:
            ends = part["balanced_accuracy_low"], part["balanced_accuracy_high"]
            number = Number(part["balanced_accuracy"], "share", "higher", *ends)
            rows.append((f"balanced accuracy on the {SETS[name]}", number))
    return rows


def of_split(report: Mapping[str, Any]) -> list[Row]:
    """Return the number of samples, the leaks, and the number of decisions."""
    leak = report["leak"]
    duplicate = "near_duplicate" if "near_duplicate" in leak["before"] else "same_bytes"
    rows: list[Row] = [
        ("samples in use", Number(sum(part["samples"] for part in report["parts"].values())))
    ]
    for key in (duplicate, "same_group"):
        match = f"{leak_name(key)} in the training set"
        for name, shares in leak["after"].items():
            words = f"share of the {SETS[name]} with {match}"
            rows.append((words, Number(shares[key], "share", "lower")))
        random = Number(leak["before"][key]["mean"], "share")
        rows.append((f"share of a random test set with {match}", random))
    decided = report["decisions"]
    rows.append(("images with decisions", Number(decided["pictures"])))
    if touched := touching_held_out(decided):
        rows.append(("of these, in the validation or test set", Number(touched)))
    return rows


@dataclass(frozen=True)
class Rows:
    """One table with rows from several reports."""

    reports: Mapping[str, Callable[[Any], list[Row]]]

    def blocks(self, context: Context) -> list[Block]:
        """Return the table, or a block that says what is missing."""
        now = self._table(context.run)
        if not now:
            return [
                Missing(
                    "There is no split and no trained model yet",
                    f"dvc repro evaluate@{context.run.dataset}",
                )
            ]
        if context.before is None:
            return now
        return compared(self._table(context.before), now, str(context.before.revision))

    def _table(self, run: Run) -> list[Block]:
        rows = [row for name, read in self.reports.items() for row in interpreted(run, name, read)]
        return [Table("Key numbers", ("metric", "value"), rows)] if rows else []


SUMMARY = Definition(
    "summary", "Summary", [Rows({"evaluate.json": of_results, "split.json": of_split})]
)
