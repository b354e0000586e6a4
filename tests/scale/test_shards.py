"""Shards: atomic and ordered, in memory, on a disk and under a URL."""

from __future__ import annotations

import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import PipelineError
from pipeline.scale import shards
from pipeline.scale.shards import (
    check,
    clear,
    next_shard,
    open_parquet,
    publish,
    read_shard,
    shard_at,
    shards_in,
    take_shard,
    write_shard,
)


def numbers(*values: int) -> pa.Table:
    return pa.table({"n": pa.array(values, pa.int64()), "text": [str(value) for value in values]})


@pytest.fixture(params=["memory", "file", "path"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give a URL or a path without any shards."""
    folder = tmp_path / "a store [1]"
    return {
        "memory": f"memory://{uuid.uuid4().hex}/deep",
        "file": f"file://{folder}/deep",
        "path": f"{folder}/deep",
    }[request.param]


def test_shards_come_back_in_the_order_of_their_numbers(url: str) -> None:
    assert shards_in(url) == []
    assert next_shard([]) == 0
    for number in (1_000_000, 11, 2, 0):
        write_shard(shard_at(url, number), numbers(number, number + 1))
    there = shards_in(url)
    assert [read_shard(shard)["n"][0].as_py() for shard in there] == [0, 2, 11, 1_000_000]
    assert next_shard(there) == 1_000_001, "a gap is not filled"
    assert read_shard(there[0], ["text"]).to_pydict() == {"text": ["0", "1"]}


def test_a_shard_written_again_is_replaced(url: str) -> None:
    for _ in range(2):
        write_shard(shard_at(url, 3), numbers(7))
    write_shard(shard_at(url, 3), numbers(8, 9))
    assert shards_in(url) == [shard_at(url, 3)]
    assert take_shard(shard_at(url, 3)).equals(numbers(8, 9))
    assert shards_in(url) == []


def test_a_file_is_published_once_with_a_shard_for_each_row_group(url: str, tmp_path: Path) -> None:
    file = tmp_path / "samples.parquet"
    pq.write_table(numbers(*range(10)), file, row_group_size=4)
    publish(file, url)
    there = shards_in(url)
    assert [read_shard(shard)["n"].to_pylist() for shard in there] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
    ]
    write_shard(there[0], numbers(100))  # a change that shows whether publish writes again
    publish(file, url)
    assert read_shard(there[0])["n"].to_pylist() == [100], (
        "shards of the same file are not written again"
    )
    pq.write_table(numbers(1, 2), file)
    publish(file, url)
    assert [read_shard(shard)["n"].to_pylist() for shard in shards_in(url)] == [[1, 2]]


def test_an_incomplete_set_of_shards_is_written_again(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "samples.parquet"
    pq.write_table(numbers(*range(6)), file, row_group_size=2)
    publish(file, url)
    pq.write_table(numbers(*range(10, 16)), file, row_group_size=2)
    real = write_shard

    def full(shard: str, table: pa.Table) -> None:
        if shard == shard_at(url, 1):
            raise OSError(28, "No space left on device")
        real(shard, table)

    monkeypatch.setattr(shards, "write_shard", full)
    with pytest.raises(OSError, match="No space"):
        publish(file, url)
    monkeypatch.undo()
    publish(file, url)
    assert [read_shard(shard)["n"].to_pylist() for shard in shards_in(url)] == [
        [10, 11],
        [12, 13],
        [14, 15],
    ]
    clear(url)
    assert shards_in(url) == []


def test_a_failed_write_leaves_the_old_shard_on_a_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"file://{tmp_path}"
    write_shard(shard_at(url, 0), numbers(1))

    def dies(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", dies)
    with pytest.raises(OSError, match="No space"):
        write_shard(shard_at(url, 0), numbers(2))
    assert read_shard(shard_at(url, 0)).equals(numbers(1))
    assert [path.name for path in tmp_path.iterdir()] == ["part-000000.parquet"]


def test_failures_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "part-000000.parquet").write_bytes(b"no")
    with (
        pytest.raises(PipelineError, match=r"part-000000.parquet: not a Parquet file"),
        open_parquet(shard_at(str(tmp_path), 0)),
    ):
        pass
    with pytest.raises(PipelineError, match=r"nowhere://x/part-0+.parquet: Protocol not known"):
        read_shard(shard_at("nowhere://x", 0))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(
        PipelineError, match=r"params.yaml: compute.storage: file://.*/file/x: .*Not a direct"
    ):
        check(f"file://{tmp_path}/file/x")
    check(f"file://{tmp_path}/new/folder")
    assert list((tmp_path / "new/folder").iterdir()) == []
