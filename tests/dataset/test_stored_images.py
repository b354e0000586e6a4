"""Stored images are read by sample id, from the row groups that hold them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.dataset.paths import samples_path
from pipeline.dataset.samples import writing_samples
from pipeline.dataset.stored_images import read_images
from tests.tables import sample


def test_only_row_groups_with_a_wanted_image_are_read(
    project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    with writing_samples(samples_path("tamil"), row_group=2) as writer:
        for number in range(6):
            image = {"bytes": f"image {number}".encode(), "path": None}
            writer.add(sample(number, image=image))
    read: list[tuple[int, list[str]]] = []
    original = pq.ParquetFile.read_row_group

    def watched(file: pq.ParquetFile, number: int, columns: list[str]) -> object:
        read.append((number, columns))
        return original(file, number, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", watched)
    assert read_images("tamil", ["a/5", "a/0", "no/such"]) == {
        "a/0": b"image 0",
        "a/5": b"image 5",
    }
    assert [number for number, columns in read if "image" in columns] == [0, 2]
    assert read_images("tamil", []) == {}
