"""split.csv: whether each sample is in train, valid or test, or out and for which reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PipelineError
from pipeline.core.files import write_csv
from pipeline.dataset.columns import CONTENT_ID, FOLD, GROUP, LABEL, PART, REASON, SAMPLE_ID
from pipeline.dataset.paths import split_path
from pipeline.dataset.tables import read_rows

TRAIN = "train"
VALID = "valid"
TEST = "test"
OUT = "out"
PARTS = (TRAIN, VALID, TEST)
# reasons to leave a sample out; dedupe.parquet has further ones
DUPLICATE_OF_TEST = "duplicate-of-test"
GROUP_IN_TEST = "group-in-test"
HEADER = (SAMPLE_ID, CONTENT_ID, LABEL, PART, GROUP, REASON)


class SplitRow(NamedTuple):
    """One sample in split.csv; the fields are the columns."""

    sample_id: str
    content_id: str
    label: str
    part: str  # one of PARTS, or OUT
    group: str
    reason: str  # why the sample is out; empty if it is not
    fold: str = ""  # a number for samples in train and valid, if the params set folds


@dataclass(frozen=True)
class Part:
    """The samples of one part, in the order of split.csv."""

    sample_ids: list[str] = field(default_factory=list)
    content_ids: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.labels)


def header(*, has_folds: bool) -> tuple[str, ...]:
    """Return the header line of split.csv, with or without a column of folds."""
    return (*HEADER, FOLD) if has_folds else HEADER


def write_split(dataset: str, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write split.csv; `names` is its header, from `header()`."""
    write_csv(split_path(dataset), names, rows)


def read_split(dataset: str) -> list[SplitRow]:
    """Return the rows of split.csv.

    Raises PipelineError if it is missing, damaged or lacks a column.
    """
    rows = read_rows(split_path(dataset), HEADER, "split")
    return [SplitRow._make([*(row[name] for name in HEADER), row.get(FOLD) or ""]) for row in rows]


def read_parts(dataset: str) -> dict[str, Part]:
    """Return the training, validation and test set by name; each may be empty.

    Raises PipelineError if split.csv is missing, damaged or lacks a column.
    """
    parts = {name: Part() for name in PARTS}
    for row in read_split(dataset):
        part = parts.get(row.part)
        if part is not None:
            part.sample_ids.append(row.sample_id)
            part.content_ids.append(row.content_id)
            part.labels.append(row.label)
            part.groups.append(row.group)
    return parts


def classes_to_learn(dataset: str, parts: dict[str, Part]) -> list[str]:
    """Return the labels of the training set, sorted.

    Raises PipelineError if the training set is empty or has only one class, or if the validation
    or test set has a class that the training set lacks.
    """
    path = split_path(dataset)
    labels = sorted(set(parts[TRAIN].labels))
    if not labels:
        raise PipelineError(
            f"{path}: the training set is empty; add images, or lower the shares of valid and test"
        )
    if len(labels) == 1:
        raise PipelineError(
            f"{path}: the training set has one class, {labels[0]}; training needs two or more"
        )
    for name in (VALID, TEST):
        lacking = sorted(set(parts[name].labels) - set(labels))
        if lacking:
            count = parts[name].labels.count(lacking[0])
            more = f" (and {len(lacking) - 1} more classes)" if lacking[1:] else ""
            raise PipelineError(
                f"{path}: class {lacking[0]} has {count} samples in {name} and none in train"
                f"{more}; add images of it, or change the shares of the split"
            )
    return labels


def label_indices(values: list[str], labels: list[str]) -> NDArray[np.int64]:
    """Return the index of each value in `labels`, as (len(values),) integers."""
    at = {label: index for index, label in enumerate(labels)}
    return np.array([at[value] for value in values], np.int64)
