"""split.csv: the parts are read in order; a missing or damaged file is one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.errors import PipelineError
from pipeline.dataset.split_table import classes_to_learn, label_indices, read_parts
from tests.worlds import write_world

Project = Callable[..., Path]


def test_parts_are_read_in_order_without_the_samples_that_are_out(project: Project) -> None:
    root = project()
    write_world(root, "shapes", {"disc": {"train": 2, "out": 3}, "ring": {"train": 1, "test": 1}})
    parts = read_parts("shapes")
    assert parts["train"].labels == ["disc", "disc", "ring"]
    assert parts["train"].sample_ids == ["disc/0001", "disc/0002", "ring/0006"]
    assert len(parts["valid"]) == 0 and len(parts["test"]) == 1
    assert parts["test"].groups == ["writer2"] and len(parts["test"].content_ids[0]) == 64
    assert classes_to_learn("shapes", {**parts}) == ["disc", "ring"]


def test_label_indices_are_positions_among_the_labels() -> None:
    assert label_indices(["b", "a", "b"], ["a", "b"]).tolist() == [1, 0, 1]
    assert label_indices([], ["a"]).shape == (0,)


def test_a_missing_split_or_a_missing_column_is_one_line(project: Project) -> None:
    root = project()
    folder = root / "data" / "shapes"
    folder.mkdir()
    with pytest.raises(PipelineError) as missing:
        read_parts("shapes")
    assert missing.value.message == (
        "data/shapes/split.csv: file not found; run `dvc repro split@shapes`, "
        "or `dvc pull` to download it"
    )
    (folder / "split.csv").write_text("sample_id,part\na,train\n")
    with pytest.raises(
        PipelineError, match=r"split\.csv: file is .*: column 'content_id' is missing;"
    ):
        read_parts("shapes")
