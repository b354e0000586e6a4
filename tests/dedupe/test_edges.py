"""Which pairs become edges, and of which kind."""

from __future__ import annotations

import numpy as np

from pipeline.dataset.pairs_table import Edges, Pairs
from pipeline.dedupe.edges import crop_edges, edges_of, of_one_kind


def test_a_symmetric_image_is_no_mirror_image_of_itself() -> None:
    upright = np.array([5, 5 << 40, 6], np.uint64)
    mirrored = np.array([5, 9 << 40, 6], np.uint64)
    edges = edges_of(upright, mirrored, 2, 2)
    assert (edges.near.a.tolist(), edges.near.b.tolist()) == ([0], [2])
    assert edges.mirror.a.size == 0, "a near pair is no mirror pair, too"


def test_a_crop_is_found_by_two_matching_regions() -> None:
    x, y, z = 0, 0xFFFF_FFFF << 32, 0xFFFF_0000_FFFF  # 32 bits apart
    regions = [[x, y, z], [x | 0b111, y], [x], [z | 1 << 60, z | 1 << 61]]
    found = crop_edges(regions)
    assert (found.a.tolist(), found.b.tolist(), found.distance.tolist()) == ([0], [1], [-1])
    assert crop_edges([[5, 5], [5, 5]]).a.size == 0, "one region twice is one"
    assert crop_edges([]).a.size == crop_edges([[1]]).a.size == 0


def pairs(*ends: tuple[int, int]) -> Pairs:
    a, b = np.array(ends, np.int64).T
    return Pairs(a, b, np.ones(a.size, np.int32))


def test_a_pair_has_the_first_of_its_kinds() -> None:
    found = of_one_kind(
        Edges(
            near=pairs((0, 1)),
            mirror=pairs((0, 1), (1, 2)),
            crop=pairs((0, 1), (1, 2), (2, 3)),
        )
    )
    kinds = {
        name: list(zip(each.a.tolist(), each.b.tolist(), strict=True))
        for name, each in found._asdict().items()
    }
    assert kinds == {"near": [(0, 1)], "mirror": [(1, 2)], "crop": [(2, 3)]}
