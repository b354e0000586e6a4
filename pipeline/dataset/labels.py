"""The names that reports and pages show for labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from pipeline.dataset.columns import LABEL, LABEL_NAME, ROMANISED

# the columns of samples.parquet that `class_names` needs
NAME_COLUMNS = (LABEL, LABEL_NAME, ROMANISED)


@dataclass(frozen=True)
class ClassName:
    """The names of one class: its label, the name to show, and that name in Latin letters."""

    label: str
    name: str
    romanised: str | None = None


class ClassNames(dict[str, ClassName]):
    """Names by label; the name of an unknown label is the label itself."""

    def __missing__(self, label: str) -> ClassName:
        """Return the label as its own name, for a label that no sample has."""
        return ClassName(label, label)

    def of(self, labels: Iterable[str]) -> tuple[ClassName, ...]:
        """Return the name of each label, in the order of `labels`."""
        return tuple(self[label] for label in labels)


def class_names(samples: pa.Table) -> ClassNames:
    """Return the class names in a table of samples that has NAME_COLUMNS.

    If samples of one label have several names, the last name in alphabetical order is used.
    """
    keys = list(NAME_COLUMNS)
    rows = samples.group_by(keys).aggregate([]).to_pylist()
    rows.sort(key=lambda row: str(row[LABEL_NAME]))
    return ClassNames(
        {row[LABEL]: ClassName(row[LABEL], row[LABEL_NAME], row[ROMANISED]) for row in rows}
    )
