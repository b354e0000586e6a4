"""Each image is hashed once; the cache is used only if the same decoder filled it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import imagehash
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from pipeline.core.errors import Rejected
from pipeline.dedupe import hash_cache
from pipeline.dedupe.hash_cache import BOTH, PHASH, cache_path, hash_all, hash_files, hashes_of
from pipeline.dedupe.phash import phash
from pipeline.images.normalise import content_id
from tests.tables import drawn, encoded, picture, with_duplicates, write


def test_a_second_run_decodes_only_what_is_new(
    project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    seen: list[bytes] = []

    def counted(data: bytes) -> int:
        seen.append(data)
        return phash(data)

    monkeypatch.setattr(hash_cache, "phash", counted)
    rows = with_duplicates()
    samples = write("birds", rows)
    ids = [row["content_id"] for row in rows]
    first = hashes_of("birds", ids)
    assert len(seen) == 12, "the same bytes are decoded once"
    assert hashes_of("birds", ids) == first
    assert len(seen) == 12
    rows.append(picture("new", drawn(77), "b"))
    write("birds", rows)
    ids.append(rows[-1]["content_id"])
    assert hashes_of("birds", ids)[-1] == [phash(rows[-1]["image"]["bytes"])]
    assert len(seen) == 13
    both = hashes_of("birds", ids, BOTH)
    assert [[upright] for upright, _ in both[:-1]] == first
    image = Image.open(io.BytesIO(rows[3]["image"]["bytes"]))
    assert (both[3][1] ^ int(str(imagehash.phash(ImageOps.mirror(image))), 16)).bit_count() <= 4
    samples.unlink()
    assert hashes_of("birds", ids) == both, "all are known"


def test_processes_hash_as_threads_do(tmp_path: Path) -> None:
    files = [encoded(drawn(n)) for n in range(70)] + [b"no image", encoded(drawn(70))[:900]]
    images = [(content_id(data), data) for data in files]
    for kind in (PHASH, BOTH):
        alone = list(hash_all(images, kind._replace(many=1000), len(images)))
        shared = list(hash_all(images, kind._replace(many=1), len(images)))
        assert [name for name, _ in shared] == [name for name, _ in images]
        assert [str(found) for _, found in shared] == [str(found) for _, found in alone]
        assert alone[5][1] == list(kind.compute(files[5]))
        assert all(isinstance(found, Rejected) for _, found in shared[70:])

    for number, data in enumerate([*files, files[0]]):
        (tmp_path / f"{number:02}").write_bytes(data)
    read, found = hash_files(sorted(tmp_path.iterdir()), PHASH._replace(many=1))
    assert read == [(content_id(data), len(data)) for data in [*files, files[0]]]
    assert found.keys() == {name for name, _ in images}, "the same bytes are decoded once"


def test_another_policy_or_a_damaged_cache_is_hashed_anew(project: Callable[..., Path]) -> None:
    project()
    rows = with_duplicates()
    write("birds", rows)
    ids = [row["content_id"] for row in rows]
    first = hashes_of("birds", ids)
    path = cache_path("birds", PHASH)
    table_ = pq.read_table(path)
    zeros = table_.set_column(1, table_.field(1), pa.array([[0]] * 12, table_.field(1).type))
    pq.write_table(zeros, path)
    assert hashes_of("birds", ids) == [[0]] * 13, "the cache is what is read"
    pq.write_table(zeros.replace_schema_metadata({"policy": "another decoder"}), path)
    assert hashes_of("birds", ids) == first
    path.write_bytes(path.read_bytes()[:100])
    assert hashes_of("birds", ids) == first
