"""The border from outside: what others' tools see in samples.parquet, without a line of ours.

Each test below the fixture imports only the tool it is about, as its user would.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from pipeline.images import content_id, normalise
from pipeline.samples import writing_samples

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
