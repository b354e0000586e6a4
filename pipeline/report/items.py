"""What a section can show: reports as tables, charts, and galleries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from pipeline.dataset.paths import reports_folder
from pipeline.dataset.reports import reading
from pipeline.report.blocks import Block, Figure, Missing, Number, Table, data_uri
from pipeline.report.changes import compared
from pipeline.report.galleries import Plan
from pipeline.report.runs import Run

T = TypeVar("T")
Tables = Callable[[Any], list[Block]]  # from a report's content to blocks


@dataclass(frozen=True)
class Context:
    """The run that a page is about, the run to compare it with, and for each plan its gallery."""

    run: Run
    before: Run | None
    galleries: Mapping[Plan, Sequence[Block]]


class Item(Protocol):
    """Something that a section shows."""

    def blocks(self, context: Context) -> list[Block]:
        """Return the item's blocks, or a block that says what is missing."""


@dataclass(frozen=True)
class Definition:
    """A section: its key in addresses, its heading, and its items in order."""

    key: str
    heading: str
    items: Sequence[Item]


@dataclass(frozen=True)
class Report:
    """A report, read as tables.

    `name` is its path below the reports folder; a star stands for several files. If `is_compared`,
    its numbers stand beside those of the revision that the page compares with.
    """

    name: str
    tables: Tables
    is_compared: bool = True

    def found(self, context: Context) -> list[Block]:
        """Return the report's blocks; none if it does not exist."""
        now = interpreted(context.run, self.name, self.tables)
        if context.before is None or not self.is_compared:
            return now
        old = interpreted(context.before, self.name, self.tables)
        return compared(old, now, str(context.before.revision))

    def blocks(self, context: Context) -> list[Block]:
        """Return the report's blocks, or a block that says what is missing."""
        return self.found(context) or [missing(context.run, self.name)]


@dataclass(frozen=True)
class AnyOf:
    """Shows whichever of `reports` exist.

    If none exists, shows the text `missing` and which stage to run.
    """

    reports: Sequence[Report]
    missing: str
    stage: str

    def blocks(self, context: Context) -> list[Block]:
        """Return the blocks of the reports that exist, or a block that says what is missing."""
        found = [block for report in self.reports for block in report.found(context)]
        return found or [Missing(self.missing, f"dvc repro {self.stage}@{context.run.dataset}")]


@dataclass(frozen=True)
class Chart:
    """A plot that a stage has drawn, always from the working tree."""

    name: str
    caption: str

    def blocks(self, context: Context) -> list[Block]:
        """Return the plot, or a block that says what is missing."""
        path = reports_folder(context.run.dataset) / self.name
        if not path.exists():
            return [missing(context.run, self.name)]
        return [Figure(data_uri(path.read_bytes(), "png"), f"Chart: {self.caption}", self.caption)]


@dataclass(frozen=True)
class Images:
    """A gallery of the working tree's images; `plan` chooses them."""

    plan: Plan

    def blocks(self, context: Context) -> list[Block]:
        """Return the gallery, or a block that says what is missing."""
        return list(context.galleries[self.plan])


def interpreted(run: Run, name: str, read: Callable[[Any], list[T]]) -> list[T]:
    """Return what `read` makes of a report; an empty list if the report does not exist.

    Raises PipelineError with the report's path if it is damaged.
    """
    value = run.value(name)
    if value is None:
        return []
    with reading(run.path(name)):
        return read(value)


def missing(run: Run, name: str) -> Missing:
    """Return the block for a report that does not exist: its path and the stage that writes it."""
    stage = name.partition("/")[0].removesuffix(".json")
    return Missing(f"{run.path(name)} does not exist yet", f"dvc repro {stage}@{run.dataset}")


def counted(caption: str, what: str, counts: Mapping[str, int]) -> list[Block]:
    """Return a table of image counts, the largest first; an empty list if all are zero."""
    found = [(name, Number(count)) for name, count in counts.items() if count]
    rows = sorted(found, key=lambda row: (-(row[1].value or 0), row[0]))
    return [Table(caption, (what, "images"), rows)] if rows else []
