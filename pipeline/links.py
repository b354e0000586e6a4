"""Links between contents that may be one picture, and the table that a person or a stage reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.duplicates import Contents, Ints, components
from pipeline.errors import PipelineError
from pipeline.files import replacing
from pipeline.pairs import U64, Pairs, expand, near_values
from pipeline.samples import dataset_folder

# Where two hashes make more pairs than this, they are written as stars: hundreds of pictures on
# one hash are a fault of the crawl, and not tens of thousands of things to look at.
PAIRS_OF_TWO_HASHES = 10_000
SEGMENT_BITS = 16  # a quarter: what imagehash calls the same region
SEGMENTS_ALIKE = 2  # one region alike is a plain sky or a dark stage
NONE = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int32))
SCHEMA = pa.schema(
    [("a", pa.string()), ("b", pa.string()), ("distance", pa.int32()), ("kind", pa.string())]
)


class Links(NamedTuple):
    """Pairs of contents by kind, each pair of one kind only."""

    near: Pairs = NONE
    mirror: Pairs = NONE  # one beside the other's mirror image
    crop: Pairs = NONE  # one perhaps a part of the other; for a person to look at


def links_of(
    upright: U64,
    mirrored: U64 | None,
    within: int,
    mirror_within: int,
    search: Callable[[U64, int], Pairs] = near_values,
) -> Links:
    """Return the pairs of m contents whose hashes (m,) differ in at most `within` bits.

    Mirror images are looked for up to `mirror_within`, which is best tighter: of the pairs of 11
    and 12 bits on real photos none was one, and a person has enough to look at. `search` finds
    what `pairs.near_values` does, here or on a cluster.
    """
    m = upright.size
    both = [upright] if mirrored is None else [upright, mirrored]
    values, inverse = np.unique(np.concatenate(both), return_inverse=True)
    found = expand(search(values, within), inverse, most=PAIRS_OF_TWO_HASHES)
    is_near = found.b < m
    is_mirror = (found.a < m) & (found.b >= m) & (found.b - m != found.a)
    is_mirror &= found.distance <= mirror_within
    near, mirror = found.where(is_near), found.where(is_mirror)
    return Links(near, without(_each_once(mirror.a, mirror.b - m, mirror.distance), near))


def crop_links(segments: Sequence[Sequence[int]]) -> Pairs:
    """Return the pairs of contents that have two regions or more alike; their distance is -1.

    `segments` are the hashes of each content's regions. For a person's eye and no more: of the 25
    pairs found among 333 real photos, seven were of one photo or one sitting.
    """
    owner = np.repeat(np.arange(len(segments)), [len(hashes) for hashes in segments])
    values, inverse = np.unique(
        np.array([value for hashes in segments for value in hashes], np.uint64), return_inverse=True
    )
    found = expand(near_values(values, SEGMENT_BITS), inverse, most=PAIRS_OF_TWO_HASHES)
    one, other = owner[found.a], owner[found.b]
    is_apart = one != other
    # of two contents, the regions of each that are like one of the other's
    rows = np.stack([one, other, inverse[found.a], inverse[found.b]])[:, is_apart]
    swap = rows[0] > rows[1]
    rows[:, swap] = rows[:, swap][[1, 0, 3, 2]]
    alike = []
    for region in (2, 3):
        regions = np.unique(rows[[0, 1, region]], axis=1)
        pairs, count = np.unique(regions[:2], axis=1, return_counts=True)
        alike.append(pairs[:, count >= SEGMENTS_ALIKE])
    keys = [(pairs[0].astype(np.int64) << 32) | pairs[1] for pairs in alike]
    both = np.intersect1d(*keys)
    a, b = both >> 32, both & 0xFFFF_FFFF
    return Pairs(a, b, np.full(a.size, -1, np.int32))


def _each_once(one: Ints, other: Ints, distance: NDArray[np.int32]) -> Pairs:
    """Return pairs in order, of equal ones the nearest."""
    a, b = np.minimum(one, other), np.maximum(one, other)
    order = np.lexsort((distance, b, a))
    a, b, distance = a[order], b[order], distance[order]
    fresh = np.ones(a.size, bool)
    fresh[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    return Pairs(a, b, distance).where(fresh)


def without(pairs: Pairs, others: Pairs) -> Pairs:
    """Return the pairs that are not among `others`."""
    keys, other_keys = ((each.a << 32) | each.b for each in (pairs, others))
    return pairs.where(~np.isin(keys, other_keys))


def clusters_of(m: int, links: Links, within: int) -> Ints:
    """Return each of m contents' cluster: connected by near links `within`, and by mirrored ones.

    Right for keeping parts apart and never for removing: chains grow long.
    """
    near = links.near.where(links.near.distance <= within)
    a = np.concatenate([near.a, links.mirror.a])
    b = np.concatenate([near.b, links.mirror.b])
    return components(m, a, b)


def links_table(samples: pa.Table, contents: Contents, links: Links) -> pa.Table:
    """Return pairs by sample id: a content's first sample with its copies, then the other kinds."""
    copies = np.flatnonzero(contents.best[contents.of] != np.arange(contents.of.size))
    copies = copies[np.argsort(contents.place[copies])]
    a, b = [contents.best[contents.of[copies]]], [copies]
    distance, kind = [np.zeros(copies.size, np.int32)], ["same"] * copies.size
    for name, pairs in links._asdict().items():
        a.append(contents.best[pairs.a])
        b.append(contents.best[pairs.b])
        distance.append(pairs.distance)
        kind += [name] * pairs.a.size
    ids = samples["sample_id"].combine_chunks()
    return pa.table(
        [
            ids.take(pa.array(np.concatenate(a))),
            ids.take(pa.array(np.concatenate(b))),
            np.concatenate(distance),
            kind,
        ],
        schema=SCHEMA,
    )


def write_links(dataset: str, table: pa.Table) -> None:
    """Write `pairs.parquet`."""
    with replacing(dataset_folder(dataset) / "pairs.parquet") as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_links(dataset: str, samples: pa.Table, contents: Contents) -> Links:
    """Return the pairs of `pairs.parquet` between contents.

    Raises PipelineError when it is missing or of other samples.
    """
    path = dataset_folder(dataset) / "pairs.parquet"
    try:
        table = pq.read_table(path, schema=SCHEMA)
    except FileNotFoundError as error:
        raise PipelineError(f"{path}: no such file; run `dvc repro dedupe@{dataset}`") from error
    except pa.ArrowException as error:
        raise PipelineError(f"{path}: not a table of pairs: {error}") from error
    of = dict(zip(samples["sample_id"].to_pylist(), contents.of.tolist(), strict=True))
    kinds = np.array(table["kind"].to_pylist(), dtype="U8")
    distance = np.asarray(table["distance"])
    try:
        a = np.array([of[name] for name in table["a"].to_pylist()], np.int64)
        b = np.array([of[name] for name in table["b"].to_pylist()], np.int64)
    except KeyError as error:
        raise PipelineError(f"{path}: {error} is no sample; run dedupe again") from error
    found = {}
    for name in Links._fields:
        rows = kinds == name
        found[name] = _each_once(a[rows], b[rows], distance[rows])
    return Links(**found)
