"""Labels and their names for people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from pipeline.dataset.columns import LABEL, LABEL_NAME, ROMANISED

# what `class_names` reads of the samples
NAME_COLUMNS = (LABEL, LABEL_NAME, ROMANISED)


@dataclass(frozen=True)
class ClassName:
    """One class: its label, its name for people, and that name in Latin letters."""

    label: str
    name: str
    romanised: str | None = None


class ClassNames(dict[str, ClassName]):
    """Names by label; a label that no sample came with is its own name."""

    def __missing__(self, label: str) -> ClassName:
        """Return the label as its own name."""
        return ClassName(label, label)

    def of(self, labels: Iterable[str]) -> tuple[ClassName, ...]:
        """Return the names of labels, in their order."""
        return tuple(self[label] for label in labels)


def class_names(samples: pa.Table) -> ClassNames:
    """Return the names in a table of samples that has the columns label, label_name, romanised.

    If samples of one label disagree, the last name in alphabetical order counts.
    """
    keys = list(NAME_COLUMNS)
    rows = samples.group_by(keys).aggregate([]).to_pylist()
    rows.sort(key=lambda row: str(row[LABEL_NAME]))
    return ClassNames(
        {row[LABEL]: ClassName(row[LABEL], row[LABEL_NAME], row[ROMANISED]) for row in rows}
    )
