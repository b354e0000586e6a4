"""samples.parquet opens in Hugging Face datasets, pandas, DuckDB and Polars.

Each test imports only the tool that it tests, as the tool's user would.
"""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from pipeline.dataset.samples import writing_samples
from pipeline.images.normalise import content_id, normalise
from tests.conftest import ROOT
from tests.tables import encoded

LABELS = {"circle": "வட்டம்", "square": "சதுரம்"}  # a name that is not ASCII, as Tamil has
PER_LABEL = 5


def image_of(label: str, number: int) -> bytes:
    """Return an image of a label: a JPEG for odd numbers, a PNG for even ones."""
    image = Image.new("RGB", (40 + number, 30), (250, 20 * number, 90))
    draw = ImageDraw.Draw(image)
    (draw.ellipse if label == "circle" else draw.rectangle)((8, 8, 22, 22), fill="black")
    return encoded(image, "JPEG" if number % 2 else "PNG")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write ten samples in several row groups, as the stages write them."""
    path = tmp_path_factory.mktemp("tools") / "data" / "shapes" / "samples.parquet"
    with writing_samples(path, row_group=3) as writer:
        for label, name in LABELS.items():
            for number in range(PER_LABEL):
                image = normalise(image_of(label, number), 512)
                sample_id = f"{label}/{number}"
                writer.add(
                    {
                        "sample_id": sample_id,
                        "content_id": content_id(image_of(label, number)),
                        "image": {"bytes": image.data, "path": f"{sample_id}.png"},
                        "label": label,
                        "label_name": name,
                        "width": image.width,
                        "height": image.height,
                        "licence": "CC BY 4.0" if number else None,
                        "rank": number,
                    }
                )
    return path


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let Hugging Face use no hub, and a cache that ends with the test."""
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


def test_duckdb_joins_samples_and_split(samples: Path) -> None:
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
    images = table["image"].struct.field("bytes").to_list()
    sizes = [Image.open(io.BytesIO(data)).size for data in images]
    assert sizes == list(table.select("width", "height").iter_rows())
    lazy = pl.scan_parquet(samples).filter(pl.col("label") == "square").select("label_name", "rank")
    assert lazy.collect().to_dict(as_series=False) == {
        "label_name": ["சதுரம்"] * PER_LABEL,
        "rank": [*range(PER_LABEL)],
    }


def test_the_example_of_the_docs_runs(
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


def test_a_table_that_pyarrow_filters_still_has_images(samples: Path, offline: Path) -> None:
    """The metadata that makes the column an image column survives."""
    import datasets
    import pyarrow.parquet as pq

    shard = samples.with_name("circles.parquet")
    pq.write_table(pq.read_table(samples, filters=[("label", "=", "circle")]), shard)
    metadata = json.loads(pq.read_schema(shard).metadata[b"huggingface"])
    assert metadata["info"]["features"]["image"]["_type"] == "Image"
    found: Any = datasets.Dataset.from_parquet(str(shard), cache_dir=str(offline))
    assert len(found) == PER_LABEL
    assert isinstance(found[0]["image"], Image.Image)
