"""rejected.csv: the files that did not become samples, and the reasons."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pipeline.core.files import write_csv
from pipeline.dataset.columns import DETAIL, LABEL, REASON, SAMPLE_ID, SOURCE
from pipeline.dataset.paths import rejected_path
from pipeline.dataset.tables import read_rows

HEADER = (SAMPLE_ID, LABEL, REASON, DETAIL, SOURCE)


class RejectedRow(NamedTuple):
    """One rejected file; the fields are the columns of rejected.csv."""

    sample_id: str
    label: str
    reason: str
    detail: str
    source: str  # a URL, a path or the name of an archive member


def write_rejected(dataset: str, rows: Iterable[tuple[str, str, str, str, str]]) -> None:
    """Write rejected.csv; a row is a RejectedRow or a tuple of the same fields."""
    write_csv(rejected_path(dataset), HEADER, rows)


def read_rejected(dataset: str) -> list[RejectedRow]:
    """Return the rows of rejected.csv.

    Raises PipelineError if it is missing or damaged.
    """
    rows = read_rows(rejected_path(dataset), HEADER, None)
    return [RejectedRow(*(row[name] for name in HEADER)) for row in rows]
