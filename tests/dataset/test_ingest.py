"""Ingest: one form for images from every source, and the counts of a stage."""

from __future__ import annotations

import os
from pathlib import Path

from pipeline.core.errors import Rejected
from pipeline.dataset.ingest import IngestedImage, Tally, image_files, ingest_image, utf8_name
from pipeline.dataset.samples import COLUMNS
from pipeline.images.normalise import content_id, verify
from tests.tables import encoded, shapes


def test_an_image_gives_its_columns_of_the_samples_table() -> None:
    data = encoded(shapes(300, 200), "TIFF")
    image = ingest_image(data, 150)
    assert isinstance(image, IngestedImage)
    row = image.columns("birds/a.tif", ["found later"])
    assert set(row) <= set(COLUMNS)
    assert row["content_id"] == content_id(data)
    assert (row["width"], row["height"]) == (150, 100)
    assert (row["original_width"], row["original_height"]) == (300, 200)
    assert (row["original_bytes"], row["original_format"]) == (len(data), "TIFF")
    assert row["notes"] == "reduced; TIFF to JPEG; found later"
    assert row["image"]["path"] == "birds/a.tif.jpg"
    assert verify(row["image"]["bytes"]).format == "JPEG"


def test_a_name_with_the_right_extension_stays() -> None:
    data = encoded(shapes(30, 20), "PNG")
    image = ingest_image(data, 150)
    assert isinstance(image, IngestedImage)
    row = image.columns("birds/a.png")
    assert row["image"] == {"bytes": data, "path": "birds/a.png"}
    assert row["notes"] is None


def test_a_rejection_is_returned_with_its_reason() -> None:
    assert str(ingest_image(b"<html>", 150)).startswith("not-an-image")
    small = ingest_image(encoded(shapes(30, 20), "PNG"), 150, min_side=25)
    assert isinstance(small, Rejected)
    assert small.reason == "too-small"


def test_a_tally_counts_samples_and_lists_rejections() -> None:
    tally = Tally()
    first = {"label": "wren", "notes": "first of 12 frames; GIF to JPEG", "licence": "CC0"}
    assert tally.accept(first) is first
    tally.accept({"label": "owl", "notes": "first of 3 frames", "licence": None})
    tally.reject("owl/x", "owl", Rejected("empty", "no bytes"), "x.jpg")
    assert tally.report() == {
        "samples": 2,
        "labels": {"owl": 1, "wren": 1},
        "rejected": {"empty": 1},
        "notes": {"GIF to JPEG": 1, "first of N frames": 2},
        "licences": {"CC0": 1, "unknown": 1},
    }
    assert tally.rejected_rows == [("owl/x", "owl", "empty", "no bytes", "x.jpg")]


def test_hidden_files_are_skipped(tmp_path: Path) -> None:
    for name in ("b/2.jpg", "a.jpg", ".DS_Store", ".trash/c.jpg", "b/._2.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    names = [str(path.relative_to(tmp_path)) for path in image_files(tmp_path)]
    assert names == ["a.jpg", "b/2.jpg"]


def test_a_name_in_another_encoding_becomes_utf8() -> None:
    assert utf8_name(Path(os.fsdecode(b"T\xe4nzerin.jpg"))) == "T\ufffdnzerin.jpg"
