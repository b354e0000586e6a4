"""The report's section about decisions: those that the split applied, and the last ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.dataset.decisions import read_decisions, verdicts
from pipeline.dataset.paths import decisions_path
from pipeline.dataset.split_table import TEST, VALID
from pipeline.report.blocks import Block, Missing, Number, Table, Text
from pipeline.report.items import Context, Definition, Report, interpreted
from pipeline.report.wording import SETS

SHOWN = 20


def touching_held_out(decided: Mapping[str, Any]) -> int:
    """Return how many images with decisions are in the validation or test set."""
    touching = decided.get("touching", {})  # absent from old reports
    return int(touching.get(VALID, 0) + touching.get(TEST, 0))


def applied(report: Mapping[str, Any]) -> list[Block]:
    """Return the decisions that the split applied, by action and by set."""
    decided = report["decisions"]
    rows = [("images with decisions", Number(decided["pictures"]))]
    rows += [
        (f"action {name}", Number(count)) for name, count in decided.get("by_action", {}).items()
    ]
    rows += [
        (f"in the {SETS[name]}", Number(count))
        for name, count in decided.get("touching", {}).items()
    ]
    rows.append(("images that the dataset no longer has", Number(decided["of_no_sample"])))
    blocks: list[Block] = [Table("Decisions applied by the split", ("item", "images"), rows)]
    if touched := touching_held_out(decided):
        blocks.append(
            Text(
                f"{touched} decisions concern images of the validation or test set. If people "
                "decide after they have seen the model's errors, the measured accuracy is too high."
            )
        )
    return blocks


class Log:
    """The last decisions, and a notice if the split has not applied all of them."""

    def blocks(self, context: Context) -> list[Block]:
        """Return the notice and the table."""
        path = decisions_path(context.run.dataset)
        decisions = read_decisions(path)
        if not decisions:
            return [Text("There are no decisions.")]
        decided = len(verdicts(decisions))
        counts = interpreted(
            context.run, "split.json", lambda report: [report["decisions"]["pictures"]]
        )
        blocks: list[Block] = []
        if counts and counts != [decided]:
            what = f"{path} has decisions about {decided} images; the split applied {counts[0]}"
            blocks.append(Missing(what, f"dvc repro evaluate@{context.run.dataset}"))
        rows = [
            (each.time, each.action, each.label, each.reason, each.who, each.content_id[:12])
            for each in reversed(decisions[-SHOWN:])
        ]
        caption = f"Decisions in {path} (last {len(rows)} of {len(decisions)})"
        header = ("time", "action", "label", "reason", "user", "image")
        return [*blocks, Table(caption, header, rows)]


DECISIONS = Definition("decisions", "Decisions", [Report("split.json", applied), Log()])
