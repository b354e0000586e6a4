"""Perceptual hashes of a dataset's pictures, computed once each and kept by content id."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import PipelineError, Rejected
from pipeline.files import replacing
from pipeline.images import phash, phash_both
from pipeline.intake import in_order
from pipeline.pairs import U64
from pipeline.progress import Progress
from pipeline.samples import dataset_folder, samples_path

# Another decoder gives other bits (up to 12 of 64), so its hashes must not meet these.
POLICY = f"phash-64 draft-128 pillow-{version('pillow')} imagehash-{version('imagehash')}"
KEPT_EVERY = 50_000  # pictures; what a killed run hashes again, a minute or two
_SCHEMA = pa.schema(
    [("content_id", pa.string()), ("phash", pa.uint64()), ("mirrored", pa.uint64())],
    metadata={"policy": POLICY},
)

Known = dict[str, tuple[int, int | None]]  # content id -> hash, and the mirror image's if asked


class Hashes(NamedTuple):
    """64-bit hashes of m contents, and of their mirror images where they were asked for."""

    upright: U64
    mirrored: U64 | None


def cache_path(dataset: str) -> Path:
    """Return where a dataset's hashes are kept; losing it costs time only."""
    return dataset_folder(dataset) / "cache" / "phash.parquet"


def hashes_of(dataset: str, content_ids: Sequence[str], *, mirrored: bool = False) -> Hashes:
    """Return the hashes of a dataset's contents; decodes those only that no run has hashed yet.

    Raises PipelineError naming a picture that cannot be decoded.
    """
    path = cache_path(dataset)
    known = _read(path)
    missing = {
        content_id
        for content_id in content_ids
        if content_id not in known or (mirrored and known[content_id][1] is None)
    }
    if missing:
        _hash(samples_path(dataset), missing, known, path, mirrored=mirrored)
    rows = [known[content_id] for content_id in content_ids]
    upright = np.array([row[0] for row in rows], np.uint64)
    return Hashes(upright, np.array([row[1] for row in rows], np.uint64) if mirrored else None)


def _hash(samples: Path, missing: set[str], known: Known, cache: Path, *, mirrored: bool) -> None:
    """Add the `missing` hashes to `known`, and keep what there is when it ends, well or not."""

    def one(picture: tuple[str, bytes]) -> tuple[str, int, int | None]:
        content_id, data = picture
        try:
            return (content_id, *phash_both(data)) if mirrored else (content_id, phash(data), None)
        except Rejected as refusal:
            raise PipelineError(f"{samples}: picture {content_id}: {refusal}") from refusal

    pictures = _pictures(samples, missing)
    try:
        with Progress("hash", total=len(missing)) as progress:
            # Pillow decodes outside the GIL
            for row in in_order(one, pictures, os.cpu_count() or 1):
                known[row[0]] = row[1:]
                progress.advance()
                if progress.done % KEPT_EVERY == 0:
                    _write(cache, known)
    finally:
        _write(cache, known)


def _pictures(path: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """Give each wanted picture once; a row group without one is not read."""
    left = set(wanted)
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            ids = file.read_row_group(group, ["content_id"])["content_id"].to_pylist()
            if left.isdisjoint(ids):
                continue
            for batch in file.iter_batches(64, [group], ["content_id", "image"]):
                pictures = batch["image"].field("bytes")
                for content_id, data in zip(batch["content_id"].to_pylist(), pictures, strict=True):
                    if content_id in left:
                        left.discard(content_id)
                        yield content_id, data.as_py()


def _read(path: Path) -> Known:
    """Return what is known; nothing where another policy computed it or the file is damaged."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException):
        return {}
    if table.schema.metadata != _SCHEMA.metadata or table.schema != _SCHEMA:
        return {}
    ids, upright, mirrored = (table[name].to_pylist() for name in _SCHEMA.names)
    return dict(zip(ids, zip(upright, mirrored, strict=True), strict=True))


def _write(path: Path, known: Known) -> None:
    ids = sorted(known)
    columns = [ids, [known[key][0] for key in ids], [known[key][1] for key in ids]]
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns, schema=_SCHEMA), temporary)
