"""Perceptual hashes of a dataset's images: each is computed once and kept by content id."""

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

SAVE_EVERY = 50_000  # images; a killed run loses at most so many hashes, a minute or two
BATCH = 32  # images sent to a process at once

Known = dict[str, list[int]]  # content id -> its hashes


class Kind(NamedTuple):
    """A kind of hash, and the cache that keeps such hashes."""

    name: str  # name of the cache's file
    # The versions of the method and of the decoder. Another decoder changes up to 12 of 64 bits,
    # so a cache with a different policy is not used.
    policy: str
    compute: Callable[[bytes], Sequence[int]]  # an encoded image -> its hashes
    enough: int = 1  # hashes; an image with fewer in the cache is hashed again
    many: int = 1000  # images; from this number on, several processes are faster


def crop_hashes(data: bytes) -> list[int]:
    """Return the sorted 64-bit hashes of the bright and dark regions of an encoded image.

    An image has a few such regions, and a crop of it keeps some of them. Source: Steinebach, Liu
    and Yannikos, "Efficient cropping-resistant robust image hashing", ARES 2014; implementation:
    `crop_resistant_hash` of the package imagehash. Raises Rejected if the image cannot be decoded.
    """
    import imagehash

    found = imagehash.crop_resistant_hash(open_rgb(data))
    return sorted({int(str(segment), 16) for segment in found.segment_hashes})


def _phash_only(data: bytes) -> list[int]:
    return [phash(data)]


_PILLOW = f"pillow-{version('pillow')}"
PHASH = Kind("phash", f"{POLICY} {_PILLOW}", _phash_only)
BOTH = Kind("phash", PHASH.policy, phash_both, 2)  # hashes of the image and of its mirror image
CROP = Kind(
    "crop", f"crop-resistant {_PILLOW} imagehash-{version('imagehash')}", crop_hashes, many=20
)


def cache_path(dataset: str, kind: Kind) -> Path:
    """Return the path of a dataset's cache of hashes; deleting the file costs only time."""
    return cache_folder(dataset) / f"{kind.name}.parquet"


def hashes_of(
    dataset: str,
    content_ids: Sequence[str],
    kind: Kind = PHASH,
    hash_missing: Callable[[set[str], Kind, Known], None] | None = None,
) -> list[list[int]]:
    """Return the hashes of the contents with these `content_ids` (m,), in the same order.

    Only contents that are not in the cache are decoded. `hash_missing`, if given, hashes these on
    workers and adds the results to the known hashes.

    Raises PipelineError with the content id if an image cannot be decoded.
    """
    path = cache_path(dataset, kind)
    known = _read(path, kind)
    missing = {name for name in content_ids if len(known.get(name, ())) < kind.enough}
    if missing:
        try:
            if hash_missing is None:
                _hash_here(samples_path(dataset), missing, kind, known, path)
            else:
                hash_missing(missing, kind, known)
        finally:
            _write(path, kind, known)
    return [known[name] for name in content_ids]


def _hash_here(samples: Path, missing: set[str], kind: Kind, known: Known, cache: Path) -> None:
    """Add the hashes of the missing contents to `known`, and save them at intervals."""
    with (
        pq.ParquetFile(samples) as file,
        Progress(f"hash ({kind.name})", total=len(missing)) as progress,
    ):
        images = images_by_content(file, range(file.num_row_groups), missing)
        for name, hashes in all_hashed(hash_all(images, kind, len(missing)), samples):
            known[name] = hashes
            progress.advance()
            if progress.done % SAVE_EVERY == 0:
                _write(cache, kind, known)


Encoded = tuple[str, bytes]  # the content id of an image, and its encoded bytes
Hashed = tuple[str, list[int] | Rejected]  # the content id, and the hashes or why there are none


def hash_all(images: Iterable[Encoded], kind: Kind, total: int) -> Iterator[Hashed]:
    """Hash about `total` images on all processors; yields the hashes in the order of the images.

    Pillow decodes outside the GIL, but half of the time for a small image is spent in Python. If
    there are many images, processes hash them: on two processors, 1.6 times as fast as threads.
    """
    processors = os.cpu_count() or 1
    hash_one = partial(hash_image, kind)
    if processors == 1 or total < kind.many:
        yield from map_threads(hash_one, images, processors)
    else:
        batches = batched(images, BATCH)
        hash_batch = partial(_hash_batch, kind)
        yield from chain.from_iterable(map_processes(hash_batch, batches, processors))


def hash_image(kind: Kind, image: Encoded) -> Hashed:
    """Return the content id of an image with its hashes, or with the reason that it has none."""
    name, data = image
    try:
        return name, list(kind.compute(data))
    except Rejected as rejected:
        return name, rejected


def _hash_batch(kind: Kind, batch: list[Encoded]) -> list[Hashed]:
    return [hash_image(kind, image) for image in batch]


def all_hashed(found: Iterable[Hashed], source: object) -> Iterator[tuple[str, list[int]]]:
    """Yield (content id, hashes).

    Raises PipelineError at the first image without hashes; `source` is the file that holds the
    images.
    """
    for name, hashes in found:
        if isinstance(hashes, Rejected):
            raise PipelineError(
                f"{source}: image {name} cannot be decoded ({hashes}); "
                "run `dvc checkout` to restore the file"
            ) from hashes
        yield name, hashes


def hash_files(paths: Sequence[Path], kind: Kind) -> tuple[list[tuple[str, int]], dict[str, Any]]:
    """Return (content id, size in bytes) of each file in order, and the hashes by content id.

    Equal files are decoded once. An image that cannot be decoded has a Rejected in place of hashes.
    Raises OSError with the path if a file cannot be read.
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


def _schema(kind: Kind) -> pa.Schema:
    fields = [(CONTENT_ID, pa.string()), (HASHES, pa.list_(pa.uint64()))]
    return pa.schema(fields, metadata={"policy": kind.policy})


def _read(path: Path, kind: Kind) -> Known:
    """Return the hashes in a cache; none if the file is missing or damaged."""
    try:
        return known_from(pq.read_table(path), kind)
    except (OSError, pa.ArrowException):
        return {}


def known_from(table: pa.Table, kind: Kind) -> Known:
    """Return the hashes in a table; none if the table has a different policy."""
    if (table.schema.names, table.schema.metadata) != (_schema(kind).names, _schema(kind).metadata):
        return {}
    return dict(zip(table[CONTENT_ID].to_pylist(), table[HASHES].to_pylist(), strict=True))


def table_of(known: Known, kind: Kind) -> pa.Table:
    """Return the table that keeps hashes, sorted by content id."""
    ids = sorted(known)
    return pa.table([ids, [known[name] for name in ids]], schema=_schema(kind))


def _write(path: Path, kind: Kind, known: Known) -> None:
    with replacing(path) as temporary:
        pq.write_table(table_of(known, kind), temporary, compression="zstd")
