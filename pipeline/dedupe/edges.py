"""Find pairs of contents that may be the same image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pipeline.dataset.pairs_table import Edges, Pairs, each_once
from pipeline.dedupe.hamming import U64, expand, near_values

# Where two hashes make more pairs than this, they are written as stars: hundreds of pictures on
# one hash are a fault of the crawl, and not tens of thousands of things to look at.
PAIRS_OF_TWO_HASHES = 10_000
SEGMENT_BITS = 16  # a quarter: what imagehash calls the same region
SEGMENTS_ALIKE = 2  # one region alike is a plain sky or a dark stage


def edges_of(
    upright: U64,
    mirrored: U64 | None,
    within: int,
    mirror_within: int,
    search: Callable[[U64, int], Pairs] = near_values,
) -> Edges:
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
    return Edges(near, without(each_once(mirror.a, mirror.b - m, mirror.distance), near))


def crop_edges(segments: Sequence[Sequence[int]]) -> Pairs:
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


def without(pairs: Pairs, others: Pairs) -> Pairs:
    """Return the pairs that are not among `others`."""
    keys, other_keys = ((each.a << 32) | each.b for each in (pairs, others))
    return pairs.where(~np.isin(keys, other_keys))
