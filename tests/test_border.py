"""The border from both sides: other scripts enter by params, other people's tools read it.

Each test of a tool imports only that tool, as its user would: without a line of ours.
"""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image, ImageDraw

from pipeline.convert import stage as convert
from pipeline.dataset.samples import writing_samples
from pipeline.dedupe import stage as dedupe
from pipeline.demo.letters import tar_gz, unipen
from pipeline.fetch import stage as fetch
from pipeline.images.normalise import content_id, normalise
from pipeline.split import stage as split
from tests.conftest import ROOT

LABELS = {"circle": "வட்டம்", "square": "சதுரம்"}  # a name that is not ASCII, as Tamil has
PER_LABEL = 5


def drawn(label: str, number: int) -> bytes:
    """Draw a picture of a label: a JPEG for odd numbers, a PNG for even ones."""
    image = Image.new("RGB", (40 + number, 30), (250, 20 * number, 90))
    draw = ImageDraw.Draw(image)
    (draw.ellipse if label == "circle" else draw.rectangle)((8, 8, 22, 22), fill="black")
    buffer = io.BytesIO()
    image.save(buffer, "JPEG" if number % 2 else "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write ten samples in several row groups, as every door writes them."""
    path = tmp_path_factory.mktemp("border") / "data" / "shapes" / "samples.parquet"
    with writing_samples(path, row_group=3) as writer:
        for label, name in LABELS.items():
            for number in range(PER_LABEL):
                picture = normalise(drawn(label, number), 512)
                sample_id = f"{label}/{number}"
                writer.add(
                    {
                        "sample_id": sample_id,
                        "content_id": content_id(drawn(label, number)),
                        "image": {"bytes": picture.data, "path": f"{sample_id}.png"},
                        "label": label,
                        "label_name": name,
                        "width": picture.width,
                        "height": picture.height,
                        "licence": "CC BY 4.0" if number else None,
                        "rank": number,
                    }
                )
    return path


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep Hugging Face at home: no hub, and a cache that ends with the test."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    return tmp_path / "cache"


@pytest.mark.parametrize("streaming", [False, True])
def test_hugging_face_datasets(samples: Path, offline: Path, streaming: bool) -> None:
    import datasets

    found: Any = datasets.load_dataset(
        "parquet",
        data_files=str(samples),
        split="train",
        cache_dir=str(offline),
        streaming=streaming,
    )
    assert isinstance(found.features["image"], datasets.Image)
    rows = list(found)
    assert [row["label_name"] for row in rows] == ["வட்டம்"] * PER_LABEL + ["சதுரம்"] * PER_LABEL
    for row in rows:
        assert isinstance(row["image"], Image.Image)
        assert row["image"].size == (row["width"], row["height"])
        assert row["image"].convert("L").getpixel((15, 15)) == pytest.approx(0, abs=12)
    assert [row["licence"] for row in rows[:2]] == [None, "CC BY 4.0"]


def test_pandas(samples: Path) -> None:
    import pandas as pd

    table = pd.read_parquet(samples)
    assert table.groupby("label").size().to_dict() == dict.fromkeys(LABELS, PER_LABEL)
    for image, width, height in zip(table["image"], table["width"], table["height"], strict=True):
        assert Image.open(io.BytesIO(image["bytes"])).size == (width, height)
    assert list(table["rank"]) == [*range(PER_LABEL)] * 2


def test_duckdb_joins_the_samples_with_a_split(samples: Path) -> None:
    import duckdb

    split = samples.parent / "split.csv"
    lines = [
        f"{label}/{number},{'test' if number == 0 else 'train'}"
        for label in LABELS
        for number in range(PER_LABEL)
    ]
    split.write_text("\n".join(["sample_id,part", *lines]) + "\n", encoding="utf-8")
    found = (
        duckdb.connect()
        .execute(
            f"""SELECT part, count(*), min(octet_length(image.bytes)) > 0, any_value(label_name)
            FROM '{samples}' JOIN '{split}' USING (sample_id)
            WHERE label = 'circle' GROUP BY part ORDER BY part"""
        )
        .fetchall()
    )
    assert found == [("test", 1, True, "வட்டம்"), ("train", PER_LABEL - 1, True, "வட்டம்")]


def test_polars_eager_and_lazy(samples: Path) -> None:
    import polars as pl

    table = pl.read_parquet(samples)
    pictures = table["image"].struct.field("bytes").to_list()
    sizes = [Image.open(io.BytesIO(data)).size for data in pictures]
    assert sizes == list(table.select("width", "height").iter_rows())
    lazy = pl.scan_parquet(samples).filter(pl.col("label") == "square").select("label_name", "rank")
    assert lazy.collect().to_dict(as_series=False) == {
        "label_name": ["சதுரம்"] * PER_LABEL,
        "rank": [*range(PER_LABEL)],
    }


def test_what_the_docs_show_runs(
    samples: Path, tmp_path: Path, offline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "your-own-images.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    folder = tmp_path / "data" / "birds"
    folder.mkdir(parents=True)
    shutil.copy(samples, folder)
    (folder / "split.csv").write_text("sample_id,part\ncircle/1,train\ncircle/2,test\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(offline))
    shown: dict[str, Any] = {}
    exec(code, shown)
    assert isinstance(shown["first"], Image.Image)
    assert len(shown["table"]) == len(shown["labels"]) == len(shown["images"]) == 2 * PER_LABEL
    assert sorted(shown["parts"].fetchall()) == [("test", 1), ("train", 1)]


def test_a_shard_of_pyarrow_keeps_what_makes_it_an_image_data_set(
    samples: Path, offline: Path
) -> None:
    """Whoever filters with Arrow and writes again still has pictures at Hugging Face's."""
    import datasets
    import pyarrow.parquet as pq

    shard = samples.with_name("circles.parquet")
    pq.write_table(pq.read_table(samples, filters=[("label", "=", "circle")]), shard)
    metadata = json.loads(pq.read_schema(shard).metadata[b"huggingface"])
    assert metadata["info"]["features"]["image"]["_type"] == "Image"
    found: Any = datasets.Dataset.from_parquet(str(shard), cache_dir=str(offline))
    assert len(found) == PER_LABEL
    assert isinstance(found[0]["image"], Image.Image)


# Three letters of Devanagari: a class table, and strokes under a headline, 2500 units an inch.
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
    """Return a letter as one hand writes it at one time."""
    wide, high = 100 + writer % 37, 100 + writer % 23 + 5 * trial
    return [[(x * wide // 100, y * high // 100) for x, y in stroke] for stroke in STROKES[letter]]


def pen_file(letter: str, writer: int, trial: int) -> bytes:
    return unipen(strokes(letter, writer, trial), writer, trial)


def tiff(letter: str, writer: int, trial: int) -> bytes:
    image = Image.new("1", (150, 160), 1)
    pen = ImageDraw.Draw(image)
    for stroke in strokes(letter, writer, trial):
        pen.line([(5 + x // 10, 5 + y // 10) for x, y in stroke], fill=0, width=2)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF", compression="group4")
    return buffer.getvalue()


def members(draw: Callable[[str, int, int], bytes], ending: str) -> Iterator[tuple[str, bytes]]:
    """Give the train part in HP's layout, with a letter that the class table does not know."""
    for writer in WRITERS:
        for letter in STROKES:
            for trial in TRIALS:
                name = f"devnagari_iso_char/usr_{writer}/{letter}t{trial:02}.{ending}"
                yield name, draw(letter, writer, trial)
    yield f"devnagari_iso_char/usr_3/099t01.{ending}", draw("000", 3, 9)


def run(command: click.Command, *arguments: str) -> None:
    result = CliRunner().invoke(command, list(arguments))
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("source", "draw", "ending"), [("online", pen_file, "txt"), ("offline", tiff, "tiff")]
)
def test_another_script_enters_by_params_and_a_class_table(
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
        picture = Image.open(io.BytesIO(row["image"]["bytes"])).convert("L")
        assert picture.size == (row["width"], row["height"])
        shades = np.asarray(picture)
        assert shades.min() < 100 and shades.max() > 200  # ink on paper
        assert "Penmani" not in str({**row, "image": None})  # no writer's name came along
    with (folder / "rejected.csv").open(encoding="utf-8", newline="") as file:
        (refused,) = csv.DictReader(file)
    assert refused["reason"] == "unlabelled" and "099" in refused["detail"]
    with (folder / "split.csv").open(encoding="utf-8", newline="") as file:
        parts = {row["sample_id"]: row["part"] for row in csv.DictReader(file)}
    hands: dict[str, set[str]] = {}
    for row in rows:
        is_test = row["official_part"] == "test"
        assert (parts[row["sample_id"]] == "test") == is_test
        if not is_test:
            hands.setdefault(row["group"], set()).add(parts[row["sample_id"]])
    assert all(len(found) == 1 for found in hands.values())  # a hand is in one part only
    assert {"train"} in hands.values() and {"valid"} in hands.values()
