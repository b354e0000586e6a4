"""Perceptual hashes of a dataset's pictures, computed once each and kept by content id."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import PipelineError, Rejected
from pipeline.files import replacing
from pipeline.images import open_rgb
from pipeline.intake import in_order
from pipeline.phash import POLICY, phash, phash_both
from pipeline.progress import Progress
from pipeline.samples import dataset_folder, samples_path

KEPT_EVERY = 50_000  # pictures; what a killed run hashes again, a minute or two

Known = dict[str, list[int]]  # content id -> its hashes


class Kind(NamedTuple):
    """A way to hash: what is computed of a file's bytes, and the cache that keeps it.

    `policy` is written into the cache: another decoder gives other bits (up to 12 of 64), so its
    hashes must never meet these. Where the cache holds fewer than `enough`, it is hashed again.
    """

    name: str
    policy: str
    compute: Callable[[bytes], Sequence[int]]
    enough: int = 1


def crop_hashes(data: bytes) -> list[int]:
    """Return a 64-bit hash of each bright or dark region, which a crop keeps: a few a picture.

    Source: Steinebach, Liu and Yannikos, "Efficient cropping-resistant robust image hashing",
    ARES 2014, as imagehash has it.
    """
    import imagehash

    found = imagehash.crop_resistant_hash(open_rgb(data))
    return sorted({int(str(segment), 16) for segment in found.segment_hashes})


_PILLOW = f"pillow-{version('pillow')}"
PHASH = Kind("phash", f"{POLICY} {_PILLOW}", lambda data: [phash(data)])
BOTH = Kind("phash", PHASH.policy, phash_both, 2)  # the picture's and its mirror image's
CROP = Kind("crop", f"crop-resistant {_PILLOW} imagehash-{version('imagehash')}", crop_hashes)


def cache_path(dataset: str, kind: Kind) -> Path:
    """Return where a dataset's hashes are kept; losing it costs time only."""
    return dataset_folder(dataset) / "cache" / f"{kind.name}.parquet"


def hashes_of(
    dataset: str,
    content_ids: Sequence[str],
    kind: Kind = PHASH,
    spread: Callable[[set[str], Kind, Known], None] | None = None,
) -> list[list[int]]:
    """Return the hashes of a dataset's contents; decodes those only that no run has hashed yet.

    `spread`, where given, adds the missing ones of a kind to the known in place of this process.

    Raises PipelineError naming a picture that cannot be decoded.
    """
    path = cache_path(dataset, kind)
    known = _read(path, kind)
    missing = {name for name in content_ids if len(known.get(name, ())) < kind.enough}
    if missing:
        try:
            if spread is None:
                _hash(samples_path(dataset), missing, kind, known, path)
            else:
                spread(missing, kind, known)
        finally:
            _write(path, kind, known)
    return [known[name] for name in content_ids]


def _hash(samples: Path, missing: set[str], kind: Kind, known: Known, cache: Path) -> None:
    with (
        pq.ParquetFile(samples) as file,
        Progress(f"hash ({kind.name})", total=len(missing)) as progress,
    ):
        found_in = pictures(file, range(file.num_row_groups), missing)
        one = partial(hashed, str(samples), kind)
        # Pillow decodes outside the GIL
        for content_id, found in in_order(one, found_in, os.cpu_count() or 1):
            known[content_id] = found
            progress.advance()
            if progress.done % KEPT_EVERY == 0:
                _write(cache, kind, known)


def hashed(where: str, kind: Kind, picture: tuple[str, bytes]) -> tuple[str, list[int]]:
    """Return the hashes of a picture (content id, bytes) of the file `where` beside its id.

    Raises PipelineError when it cannot be decoded.
    """
    content_id, data = picture
    try:
        return content_id, list(kind.compute(data))
    except Rejected as refusal:
        raise PipelineError(f"{where}: picture {content_id}: {refusal}") from refusal


def ids_of(file: pq.ParquetFile, group: int) -> list[str]:
    """Return the content ids of a row group."""
    return file.read_row_group(group, ["content_id"])["content_id"].to_pylist()


def pictures(
    file: pq.ParquetFile, groups: Iterable[int], wanted: set[str]
) -> Iterator[tuple[str, bytes]]:
    """Give each wanted picture of some row groups once; a group without one is not read."""
    left = set(wanted)
    for group in groups:
        if left.isdisjoint(ids_of(file, group)):
            continue
        for batch in file.iter_batches(64, [group], ["content_id", "image"]):
            column = batch["image"].field("bytes")
            for content_id, data in zip(batch["content_id"].to_pylist(), column, strict=True):
                if content_id in left:
                    left.discard(content_id)
                    yield content_id, data.as_py()


def _schema(kind: Kind) -> pa.Schema:
    fields = [("content_id", pa.string()), ("hashes", pa.list_(pa.uint64()))]
    return pa.schema(fields, metadata={"policy": kind.policy})


def _read(path: Path, kind: Kind) -> Known:
    """Return what is known; nothing where the file is damaged."""
    try:
        return known_from(pq.read_table(path), kind)
    except (OSError, pa.ArrowException):
        return {}


def known_from(table: pa.Table, kind: Kind) -> Known:
    """Return the hashes in a table; none where another policy computed them."""
    if (table.schema.names, table.schema.metadata) != (_schema(kind).names, _schema(kind).metadata):
        return {}
    return dict(zip(table["content_id"].to_pylist(), table["hashes"].to_pylist(), strict=True))


def table_of(known: Known, kind: Kind) -> pa.Table:
    """Return hashes as the table that keeps them, sorted by content id."""
    ids = sorted(known)
    return pa.table([ids, [known[name] for name in ids]], schema=_schema(kind))


def _write(path: Path, kind: Kind, known: Known) -> None:
    with replacing(path) as temporary:
        pq.write_table(table_of(known, kind), temporary, compression="zstd")
