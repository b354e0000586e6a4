"""Which sample is trained on, validated on, tested on: split.csv, read for those who need it."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PipelineError
from pipeline.network import ClassName
from pipeline.samples import dataset_folder, read_samples


@dataclass(frozen=True)
class Part:
    """The samples of a part, in split.csv's order."""

    sample_ids: list[str] = field(default_factory=list)
    content_ids: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.labels)


def split_path(dataset: str) -> Path:
    """Return the path of a dataset's split."""
    return dataset_folder(dataset) / "split.csv"


def read_parts(dataset: str) -> dict[str, Part]:
    """Read split.csv into `train`, `valid` and `test`, any of which may be empty.

    Raises PipelineError when the file is missing or lacks a column.
    """
    path = split_path(dataset)
    parts = {name: Part() for name in ("train", "valid", "test")}
    if not path.exists():
        raise PipelineError(f"{path}: no such file; run `dvc repro` or `dvc pull` first")
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            try:
                part = parts.get(row["part"])
                if part is not None:
                    part.sample_ids.append(row["sample_id"])
                    part.content_ids.append(row["content_id"])
                    part.labels.append(row["label"])
                    part.groups.append(row["group"])
            except KeyError as error:
                raise PipelineError(f"{path}: no column {error}") from error
    return parts


def classes_to_learn(dataset: str, parts: dict[str, Part]) -> list[str]:
    """Return the labels that the train part holds, in order.

    Raises PipelineError where there is nothing to learn, or something to be asked that cannot be
    learned: an empty train part, one class, a class that other parts hold and train does not.
    """
    path = split_path(dataset)
    labels = sorted(set(parts["train"].labels))
    if not labels:
        raise PipelineError(f"{path}: the train part is empty")
    if len(labels) == 1:
        raise PipelineError(f"{path}: train holds one class, {labels[0]}; two or more are needed")
    for name in ("valid", "test"):
        lacking = sorted(set(parts[name].labels) - set(labels))
        if lacking:
            count = parts[name].labels.count(lacking[0])
            more = f" (and {len(lacking) - 1} more classes)" if lacking[1:] else ""
            raise PipelineError(
                f"{path}: class {lacking[0]} has {count} samples in {name} and none in train"
                f"{more}: it cannot be learned; add samples or change the shares of the split"
            )
    return labels


def places(values: list[str], labels: list[str]) -> NDArray[np.int64]:
    """Return the place of each value among the labels."""
    at = {label: place for place, label in enumerate(labels)}
    return np.array([at[value] for value in values], np.int64)


def class_names(dataset: str, labels: list[str]) -> tuple[ClassName, ...]:
    """Return the names for people of labels; a label that no sample came with names itself."""
    table = read_samples(dataset, ["label", "label_name", "romanised"])
    unique = table.group_by(["label", "label_name", "romanised"]).aggregate([]).to_pylist()
    named = {row["label"]: row for row in sorted(unique, key=lambda row: str(row["label_name"]))}
    return tuple(
        ClassName(label, named[label]["label_name"], named[label]["romanised"])
        if label in named
        else ClassName(label, label)
        for label in labels
    )
