"""The sections of the page about one dataset, in the order of the stages."""

from __future__ import annotations

import base64
import csv
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pipeline.core.errors import PipelineError
from pipeline.dataset.decisions import read_decisions, verdicts
from pipeline.dataset.paths import CRAWL_REPORT, decisions_path, reports_folder
from pipeline.report import data_tables, model_tables
from pipeline.report.blocks import Block, Cell, Figure, Missing, Section, Table, Text
from pipeline.report.changes import compared
from pipeline.report.runs import Run

T = TypeVar("T")
Tell = Callable[[Any], list[Block]]

DOORS: dict[str, Tell] = {  # by which samples come in
    f"{CRAWL_REPORT}*.json": data_tables.crawled,
    "collect.json": data_tables.taken_in,
    "folder.json": data_tables.taken_in,
    "fetch.json": data_tables.fetched,
    "convert.json": data_tables.converted,
}
GLANCES: dict[str, Callable[[Any], list[Sequence[Cell]]]] = {
    "evaluate.json": model_tables.results_at_a_glance,
    "split.json": data_tables.split_at_a_glance,
}
CHARTS = {  # what they show, for those who do not see it
    "split/classes.png": "How many samples of each class every part holds, as bars",
    "split/groups.png": "How many samples each group has, the largest first, by part",
    "train/history.png": "Losses and accuracies by epoch",
    "train/lr_find.png": "Loss by learning rate, a curve a stage",
    "evaluate/per_class.png": "Accuracy of each class with its interval, the worst first",
    "evaluate/calibration.png": "How often the model is right, by how sure it is",
    "evaluate/confusion.png": "Which class is taken for which, as a matrix",
    "evaluate/most_confused.png": "The most confused pairs as bars",
}
DECISIONS_SHOWN = 20


def sections(run: Run, before: Run | None, shown: Mapping[str, Sequence[Block]]) -> list[Section]:
    """Return a dataset's sections; `shown` are its galleries of pictures by name.

    Raises PipelineError naming the report that is damaged.
    """

    def report(name: str, *tellers: Tell) -> list[Block]:
        blocks = [block for tell in tellers for block in beside(run, before, name, tell)]
        return blocks or [missing(run, name)]

    def rows(name: str, tell: Tell) -> list[Block]:
        return told(run, name, tell) or [missing(run, name)]

    def charts(*names: str) -> list[Block]:
        return [chart(run, name) for name in names]

    found: dict[str, tuple[str, list[Block]]] = {
        "summary": ("At a glance", at_a_glance(run, before)),
        "data": ("Data", [*came_in(run, before), *shown["classes"]]),
        "duplicates": (
            "Duplicates",
            [*report("dedupe.json", data_tables.deduped), *shown["duplicates"]],
        ),
        "parts": (
            "Parts and leaks",
            [
                *report("split.json", data_tables.parted, data_tables.leaked),
                *charts("split/classes.png", "split/groups.png"),
            ],
        ),
        "training": (
            "Training",
            [
                *report("train.json", model_tables.trained),
                *charts("train/history.png", "train/lr_find.png"),
                *rows("train/history.csv", model_tables.history),
            ],
        ),
        "results": (
            "Results",
            [
                *report("evaluate.json", model_tables.evaluated),
                *charts("evaluate/per_class.png", "evaluate/calibration.png"),
                *rows("evaluate/per_class.csv", model_tables.weakest),
            ],
        ),
        "confused": (
            "Most confused pairs",
            [
                *charts("evaluate/most_confused.png"),
                *rows("evaluate/most_confused.csv", model_tables.confused),
                *shown["confused"],
                *charts("evaluate/confusion.png"),
            ],
        ),
        "losses": ("Top losses", list(shown["losses"])),
        "decisions": ("Decisions", [*report("split.json", data_tables.decided), *log(run)]),
    }
    return [Section(key, title, once(blocks)) for key, (title, blocks) in found.items()]


def told(run: Run, name: str, tell: Callable[[Any], list[T]]) -> list[T]:
    """Tell what a report holds; nothing where it is not there.

    Raises PipelineError naming it where it is damaged.
    """
    try:
        value = run.value(name)
        return [] if value is None else tell(value)
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        at = "" if run.revision is None else f"{run.revision}: "
        raise PipelineError(
            f"{at}{run.path(name)}: damaged or of another version ({error!r}); run `dvc repro`"
        ) from error


def beside(run: Run, before: Run | None, name: str, tell: Tell) -> list[Block]:
    """Tell what a report holds, its numbers beside those of the run before."""
    now = told(run, name, tell)
    return now if before is None else compared(told(before, name, tell), now, str(before.revision))


def at_a_glance(run: Run, before: Run | None) -> list[Block]:
    """Return the few numbers that say the most."""

    def table(of: Run) -> list[Block]:
        rows = [row for name, tell in GLANCES.items() for row in told(of, name, tell)]
        return [Table("The numbers that say the most", ("number", "value"), rows)] if rows else []

    now = table(run)
    if not now:
        return [
            Missing("Nothing has been split or measured yet", f"dvc repro evaluate@{run.dataset}")
        ]
    return now if before is None else compared(table(before), now, str(before.revision))


def came_in(run: Run, before: Run | None) -> list[Block]:
    """Return what came in, by whatever door."""
    found = [block for name, tell in DOORS.items() for block in beside(run, before, name, tell)]
    return found or [Missing("Nothing has come in yet", f"dvc repro dedupe@{run.dataset}")]


def chart(run: Run, name: str) -> Block:
    """Return a picture of numbers, of the working tree."""
    path = reports_folder(run.dataset) / name
    if not path.exists():
        return missing(run, name)
    caption = CHARTS[name]
    return Figure(data_uri(path.read_bytes(), "png"), f"Chart. {caption}", f"{caption}.")


def data_uri(data: bytes, kind: str) -> str:
    """Return a picture as an address that holds all of it."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def missing(run: Run, name: str) -> Missing:
    """Say that a report is not here and which stage writes it."""
    stage = name.partition("/")[0].removesuffix(".json")
    return Missing(f"There is no {run.path(name)} yet", f"dvc repro {stage}@{run.dataset}")


def once(blocks: Sequence[Block]) -> list[Block]:
    """Keep the first of the missing things that one command makes, for it says it of all."""
    commands: set[str] = set()
    kept = []
    for block in blocks:
        if not isinstance(block, Missing) or block.command not in commands:
            kept.append(block)
        if isinstance(block, Missing):
            commands.add(block.command)
    return kept


def log(run: Run) -> list[Block]:
    """Return the last decisions that people made, and whether the split knows of all."""
    path = decisions_path(run.dataset)
    decisions = read_decisions(path)
    if not decisions:
        return [Text("Nobody has decided about a picture.")]
    standing = len(verdicts(decisions))
    blocks: list[Block] = []
    applied = told(run, "split.json", lambda report: [report["decisions"]["pictures"]])
    if applied and applied != [standing]:
        about = f"{path} decides about {standing} pictures, the split knows of {applied[0]}"
        blocks.append(Missing(about, f"dvc repro evaluate@{run.dataset}"))
    rows = [
        (each.time, each.action, each.label, each.reason, each.who, each.content_id[:12])
        for each in reversed(decisions[-DECISIONS_SHOWN:])
    ]
    header = ("time", "action", "label", "reason", "who", "picture")
    caption = f"The last {len(rows)} of {len(decisions)} decisions in {path}"
    return [*blocks, Table(caption, header, rows)]
