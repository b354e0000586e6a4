"""Find edges: pairs of contents that may be the same image.

`pipeline.dataset.pairs_table.KINDS` describes each kind of edge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np

from pipeline.dataset.pairs_table import Edges, Pairs, each_once
from pipeline.dedupe.hamming import U64, expand, near_values

# If two hashes make more pairs than this, stars are stored instead: hundreds of images with one
# hash are a fault of the crawl, and nobody can review tens of thousands of pairs.
PAIRS_OF_TWO_HASHES = 10_000
REGION_BITS = 16  # a quarter of the bits: two regions within it match, as in imagehash
MATCHING_REGIONS = 2  # a single match is often a plain sky or a dark stage


def edges_of(
    upright: U64,
    mirrored: U64 | None,
    within: int,
    mirror_within: int,
    search: Callable[[U64, int], Pairs] = near_values,
) -> Edges:
    """Return the near edges and the mirror edges of m contents.

    `upright` (m,) are the hashes of the contents; `mirrored` (m,) are those of their mirror images,
    or None to find no mirror edges. Near edges have a distance of at most `within` bits, mirror
    edges of at most `mirror_within`. The second bound should be tighter: of the mirror pairs at 11
    and 12 bits on real photos, none was correct. A pair that is a near edge is not returned as a
    mirror edge, too.

    `search` finds the same pairs as `hamming.near_values`, on this machine or on workers.
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
    """Return the pairs of contents with two or more matching regions; their distance is -1.

    `segments` are the hashes of the regions of each content. Each content of a pair must have at
    least two regions that match some region of the other. The pairs are for review only: of the 25
    found among 333 real photos, seven showed the same photo or came from the same session.
    """
    owner = np.repeat(np.arange(len(segments)), [len(hashes) for hashes in segments])
    values, inverse = np.unique(
        np.array([value for hashes in segments for value in hashes], np.uint64), return_inverse=True
    )
    found = expand(near_values(values, REGION_BITS), inverse, most=PAIRS_OF_TWO_HASHES)
    one, other = owner[found.a], owner[found.b]
    # One column for each match: first content, second content, region of the first, of the second.
    matches = np.stack([one, other, inverse[found.a], inverse[found.b]])[:, one != other]
    swap = matches[0] > matches[1]
    matches[:, swap] = matches[:, swap][[1, 0, 3, 2]]
    enough = []  # for each side, the pairs in which that side has enough matching regions
    for region in (2, 3):
        regions = np.unique(matches[[0, 1, region]], axis=1)
        pairs, count = np.unique(regions[:2], axis=1, return_counts=True)
        enough.append(pairs[:, count >= MATCHING_REGIONS])
    keys = [(pairs[0].astype(np.int64) << 32) | pairs[1] for pairs in enough]
    both = np.intersect1d(*keys)
    a, b = both >> 32, both & 0xFFFF_FFFF
    return Pairs(a, b, np.full(a.size, -1, np.int32))


def of_one_kind(edges: Edges) -> Edges:
    """Return the edges with each pair under one kind only: its first in the order of KINDS."""
    found: list[Pairs] = []
    for pairs in edges:
        found.append(reduce(without, found, pairs))
    return Edges(*found)


def without(pairs: Pairs, others: Pairs) -> Pairs:
    """Return the pairs that are not among `others`; distances are not compared."""
    keys, other_keys = ((each.a << 32) | each.b for each in (pairs, others))
    return pairs.where(~np.isin(keys, other_keys))
