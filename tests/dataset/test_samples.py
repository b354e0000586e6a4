"""samples.parquet: rows are written in groups and read back, or nothing is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import PipelineError
from pipeline.dataset.paths import samples_path
from pipeline.dataset.rejected import write_rejected
from pipeline.dataset.samples import COLUMNS, read_samples, writing_samples
from tests.tables import sample


def row(number: int, **more: Any) -> dict[str, Any]:
    image = {"bytes": bytes([number % 256]), "path": f"{number}.png"}
    return sample(number, label_name="அ", image=image, **more)


def test_rows_stream_in_groups_and_come_back_in_order(project: Callable[..., Path]) -> None:
    project()
    path = samples_path("birds")
    with writing_samples(path, row_group=4) as writer:
        for number in range(10):
            writer.add(row(number, rank=number))
        assert writer.count == 10
    assert pq.ParquetFile(path).num_row_groups == 3
    table = read_samples("birds")
    assert table.column_names == list(COLUMNS)
    assert table["rank"].to_pylist() == list(range(10))
    assert table["label_name"].to_pylist() == ["அ"] * 10
    assert table["licence"].null_count == 10
    assert read_samples("birds", images=False).column_names == [
        name for name in COLUMNS if name != "image"
    ]


def test_hugging_face_finds_an_image_feature(project: Callable[..., Path]) -> None:
    project()
    with writing_samples(samples_path("birds")) as writer:
        writer.add(row(1))
    metadata = pq.read_schema(samples_path("birds")).metadata
    features = json.loads(metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert list(features) == list(COLUMNS)


def test_a_failure_leaves_the_old_file_and_no_temporary_file(project: Callable[..., Path]) -> None:
    project()
    path = samples_path("birds")
    with writing_samples(path) as writer:
        writer.add(row(1))
    before = path.read_bytes()
    with pytest.raises(RuntimeError), writing_samples(path) as writer:
        writer.add(row(2))
        raise RuntimeError
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_row_needs_the_required_columns_and_no_others(project: Callable[..., Path]) -> None:
    project()
    with (
        pytest.raises(ValueError, match="no label"),
        writing_samples(samples_path("birds")) as writer,
    ):
        writer.add({**row(1), "label": None})
    with (
        pytest.raises(KeyError, match="unknown columns of samples"),
        writing_samples(samples_path("birds")) as writer,
    ):
        writer.add(row(1, colour="red"))
    assert not samples_path("birds").exists()


def test_a_missing_or_damaged_table_is_one_line(project: Callable[..., Path]) -> None:
    project()
    with pytest.raises(PipelineError) as unknown:
        read_samples("birds")
    assert unknown.value.message == "unknown dataset 'birds'; this project has: dances, tamil"
    samples_path("birds").parent.mkdir(parents=True)
    with pytest.raises(PipelineError) as missing:
        read_samples("birds")
    assert missing.value.message == (
        "data/birds/samples.parquet: file not found; run `dvc repro`, or `dvc pull` to download it"
    )
    samples_path("birds").write_bytes(b"PAR1 but not really")
    with pytest.raises(PipelineError, match=r"^data/birds/samples.parquet: file is damaged") as bad:
        read_samples("birds")
    assert bad.value.message.endswith(
        "run `dvc checkout` to restore it, or `dvc repro` to write it again"
    )


def test_rejections_are_rows_of_a_csv(project: Callable[..., Path]) -> None:
    root = project()
    write_rejected("birds", [("a/1", "a", "truncated", "ends early", 'http://x/"q",y')])
    text = (root / "data/birds/rejected.csv").read_text(encoding="utf-8")
    assert text == (
        'sample_id,label,reason,detail,source\na/1,a,truncated,ends early,"http://x/""q"",y"\n'
    )


def test_the_bytes_of_a_file_do_not_depend_on_how_rows_were_added(tmp_path: Path) -> None:
    rows, path = [row(number) for number in range(23)], tmp_path / "some.parquet"
    names = rows[0].keys()

    def written(*cuts: int) -> bytes:
        with writing_samples(path, row_group=4) as writer:
            for start, end in zip((0, *cuts), (*cuts, len(rows)), strict=True):
                writer.add_columns(
                    {name: [each[name] for each in rows[start:end]] for name in names}
                )
        return path.read_bytes()

    assert written() == written(1, 2, 3) == written(9) == written(4, 8, 17)
    assert pq.ParquetFile(path).num_row_groups == 6
