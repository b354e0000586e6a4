"""Handwriting in another script needs archives, a class table and params, but no new code."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from pipeline.convert import stage as convert
from pipeline.dedupe import stage as dedupe
from pipeline.demo.drawn_letters import tar_gz, unipen
from pipeline.fetch import stage as fetch
from pipeline.split import stage as split
from tests.running import run
from tests.tables import encoded

# Three letters of Devanagari: a class table, and strokes below a headline, at 2500 units an inch.
DEVANAGARI = """class_id,unicode,iso15919
000,\u0905,a
007,\u0930\u093c,\u1e5b
010,\u0915,ka
"""
HEADLINE = [(0, 0), (900, 10)]
STROKES = {
    "000": [HEADLINE, [(100, 300), (400, 350), (120, 600), (420, 900)], [(800, 0), (810, 950)]],
    "007": [HEADLINE, [(500, 0), (200, 350), (700, 900)], [(450, 1100), (470, 1110)]],
    "010": [HEADLINE, [(450, 0), (460, 950)], [(450, 500), (150, 350), (140, 650), (800, 700)]],
}
WRITERS, TRIALS = (3, 14, 15, 92, 65, 35), (1, 2)


def strokes(letter: str, writer: int, trial: int) -> list[list[tuple[int, int]]]:
    """Return the strokes of a letter by one writer in one trial."""
    wide, high = 100 + writer % 37, 100 + writer % 23 + 5 * trial
    return [[(x * wide // 100, y * high // 100) for x, y in stroke] for stroke in STROKES[letter]]


def pen_file(letter: str, writer: int, trial: int) -> bytes:
    return unipen(strokes(letter, writer, trial), writer, trial)


def tiff(letter: str, writer: int, trial: int) -> bytes:
    image = Image.new("1", (150, 160), 1)
    pen = ImageDraw.Draw(image)
    for stroke in strokes(letter, writer, trial):
        pen.line([(5 + x // 10, 5 + y // 10) for x, y in stroke], fill=0, width=2)
    return encoded(image, "TIFF", compression="group4")


def members(draw: Callable[[str, int, int], bytes], ending: str) -> Iterator[tuple[str, bytes]]:
    """Yield the training part in HP's layout, with a letter that the class table lacks."""
    for writer in WRITERS:
        for letter in STROKES:
            for trial in TRIALS:
                name = f"devnagari_iso_char/usr_{writer}/{letter}t{trial:02}.{ending}"
                yield name, draw(letter, writer, trial)
    yield f"devnagari_iso_char/usr_3/099t01.{ending}", draw("000", 3, 9)


@pytest.mark.parametrize(
    ("source", "draw", "ending"), [("online", pen_file, "txt"), ("offline", tiff, "tiff")]
)
def test_another_script_needs_params_and_a_class_table(
    project: Callable[..., Path],
    source: str,
    draw: Callable[[str, int, int], bytes],
    ending: str,
) -> None:
    official = [(letter, draw(letter, 71, trial)) for letter in STROKES for trial in range(3)]
    labels = "".join(f"{number:05} {letter}\n" for number, (letter, _) in enumerate(official))
    numbered = [(f"test/{number:05}.{ending}", data) for number, (_, data) in enumerate(official)]
    archives = {
        "train": tar_gz(members(draw, ending)),
        "test": tar_gz([*numbered, ("test/labels.txt", labels.encode())]),
    }
    root = project(
        **{
            "fetch.devanagari": {
                "source": source,
                "archives": {
                    source: {part: {"url": f"{part}.tar.gz", "sha256": None} for part in archives}
                },
            },
            "convert.devanagari": {"classes": "devanagari_classes.csv"},
            "dedupe.devanagari": {"method": "exact"},
            "split.devanagari": {"method": "official", "valid": 0.3, "test": 0.0},
        }
    )
    (root / "devanagari_classes.csv").write_text(DEVANAGARI, encoding="utf-8")
    for part, data in archives.items():
        (root / f"{part}.tar.gz").write_bytes(data)
    for stage in (fetch, convert, dedupe, split):
        run(stage.main, "devanagari")
    folder = root / "data" / "devanagari"
    rows = pq.read_table(folder / "samples.parquet").to_pylist()
    assert len(rows) == len(WRITERS) * len(STROKES) * len(TRIALS) + len(official)
    named = {(row["label"], row["label_name"], row["romanised"]) for row in rows}
    dotted = unicodedata.normalize("NFC", "\u0930\u093c")
    assert named == {("000", "अ", "a"), ("007", dotted, "ṛ"), ("010", "क", "ka")}
    train = [row for row in rows if row["official_part"] == "train"]
    assert {row["group"] for row in train} == {str(writer) for writer in WRITERS}
    assert {row["trial"] for row in train} == set(TRIALS)
    for row in rows:
        image = Image.open(io.BytesIO(row["image"]["bytes"])).convert("L")
        assert image.size == (row["width"], row["height"])
        shades = np.asarray(image)
        assert shades.min() < 100 and shades.max() > 200  # ink on paper
        assert "Penmani" not in str({**row, "image": None})  # the writers' names are left out
    with (folder / "rejected.csv").open(encoding="utf-8", newline="") as file:
        (refused,) = csv.DictReader(file)
    assert refused["reason"] == "unlabelled" and "099" in refused["detail"]
    with (folder / "split.csv").open(encoding="utf-8", newline="") as file:
        parts = {row["sample_id"]: row["part"] for row in csv.DictReader(file)}
    parts_of_writer: dict[str, set[str]] = {}
    for row in rows:
        is_test = row["official_part"] == "test"
        assert (parts[row["sample_id"]] == "test") == is_test
        if not is_test:
            parts_of_writer.setdefault(row["group"], set()).add(parts[row["sample_id"]])
    assert all(len(found) == 1 for found in parts_of_writer.values())
    assert {"train"} in parts_of_writer.values() and {"valid"} in parts_of_writer.values()
