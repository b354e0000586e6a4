"""Perceptual hashes of a dataset's pictures, computed once each and kept by content id."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import PipelineError, Rejected
from pipeline.core.files import replacing
from pipeline.core.processes import batched, map_processes, map_threads
from pipeline.core.progress import Progress
from pipeline.dataset.columns import CONTENT_ID, HASHES
from pipeline.dataset.paths import cache_folder, samples_path
from pipeline.dataset.stored_images import images_by_content
from pipeline.dedupe.phash import POLICY, phash, phash_both
from pipeline.images.normalise import content_id, open_rgb

KEPT_EVERY = 50_000  # pictures; what a killed run hashes again, a minute or two
BATCH = 32  # pictures sent to a process at once

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
    many: int = 1000  # pictures for which starting processes pays


def crop_hashes(data: bytes) -> list[int]:
    """Return a 64-bit hash of each bright or dark region, which a crop keeps: a few a picture.

    Source: Steinebach, Liu and Yannikos, "Efficient cropping-resistant robust image hashing",
    ARES 2014, as imagehash has it.
    """
    import imagehash

    found = imagehash.crop_resistant_hash(open_rgb(data))
    return sorted({int(str(segment), 16) for segment in found.segment_hashes})


def _alone(data: bytes) -> list[int]:
    return [phash(data)]


_PILLOW = f"pillow-{version('pillow')}"
PHASH = Kind("phash", f"{POLICY} {_PILLOW}", _alone)
BOTH = Kind("phash", PHASH.policy, phash_both, 2)  # the picture's and its mirror image's
CROP = Kind(
    "crop", f"crop-resistant {_PILLOW} imagehash-{version('imagehash')}", crop_hashes, many=20
)


def cache_path(dataset: str, kind: Kind) -> Path:
    """Return where a dataset's hashes are kept; losing it costs time only."""
    return cache_folder(dataset) / f"{kind.name}.parquet"


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
        found_in = images_by_content(file, range(file.num_row_groups), missing)
        for name, found in sound(hash_all(found_in, kind, len(missing)), samples):
            known[name] = found
            progress.advance()
            if progress.done % KEPT_EVERY == 0:
                _write(cache, kind, known)


Encoded = tuple[str, bytes]  # a picture's content id and its file's bytes
Hashed = tuple[str, list[int] | Rejected]  # a picture's content id and its hashes or the verdict


def hash_all(pictures: Iterable[Encoded], kind: Kind, total: int) -> Iterator[Hashed]:
    """Hash about `total` pictures on all processors, in their order.

    Pillow decodes outside the GIL, but half of the time of a small picture is Python's: many are
    hashed in processes, which give 1.6 times as many a second on two processors as threads.
    """
    processors = os.cpu_count() or 1
    one = partial(hashed, kind)
    if processors == 1 or total < kind.many:
        yield from map_threads(one, pictures, processors)
    else:
        batches = batched(pictures, BATCH)
        yield from chain.from_iterable(map_processes(partial(_each, one), batches, processors))


def hashed(kind: Kind, picture: Encoded) -> Hashed:
    """Return the content id of a picture and its hashes, or the verdict on it."""
    name, data = picture
    try:
        return name, list(kind.compute(data))
    except Rejected as verdict:
        return name, verdict


def sound(found: Iterable[Hashed], where: object) -> Iterator[tuple[str, list[int]]]:
    """Pass hashes on; raise PipelineError at the first picture of `where` that has none."""
    for name, hashes in found:
        if isinstance(hashes, Rejected):
            raise PipelineError(f"{where}: picture {name}: {hashes}") from hashes
        yield name, hashes


def hash_files(paths: Sequence[Path], kind: Kind) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """Return the content id and size in bytes of each file, and what each content hashes to.

    The files keep their order; the same bytes are decoded once. What cannot be decoded has its
    Rejected in place of hashes. Raises OSError naming a file that cannot be read.
    """
    read: list[tuple[str, int]] = []

    def contents() -> Iterator[Encoded]:
        seen: set[str] = set()
        for path in paths:
            data = path.read_bytes()
            name = content_id(data)
            read.append((name, len(data)))
            progress.advance()
            if name not in seen:
                seen.add(name)
                yield name, data

    with Progress("read", total=len(paths)) as progress:
        hashes = dict(hash_all(contents(), kind, len(paths)))
    return read, hashes


def _each(one: Callable[[Encoded], Hashed], batch: list[Encoded]) -> list[Hashed]:
    return [one(picture) for picture in batch]


def _schema(kind: Kind) -> pa.Schema:
    fields = [(CONTENT_ID, pa.string()), (HASHES, pa.list_(pa.uint64()))]
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
    return dict(zip(table[CONTENT_ID].to_pylist(), table[HASHES].to_pylist(), strict=True))


def table_of(known: Known, kind: Kind) -> pa.Table:
    """Return hashes as the table that keeps them, sorted by content id."""
    ids = sorted(known)
    return pa.table([ids, [known[name] for name in ids]], schema=_schema(kind))


def _write(path: Path, kind: Kind, known: Known) -> None:
    with replacing(path) as temporary:
        pq.write_table(table_of(known, kind), temporary, compression="zstd")
