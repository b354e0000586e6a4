"""pairs.parquet: what is written is read back, and KINDS describes every kind of edge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import PipelineError
from pipeline.dataset.contents import contents_of
from pipeline.dataset.pairs_table import (
    KINDS,
    Edges,
    Pairs,
    clusters_of,
    components,
    pairs_table,
    read_edges,
    write_pairs,
)
from tests.tables import content, sample, table


def test_edges_are_read_as_they_were_written(project: Callable[..., Path]) -> None:
    project()
    samples = table([sample(n, content_id=content(n % 4)) for n in range(6)])
    contents = contents_of(samples)
    near = Pairs(np.array([0, 1]), np.array([2, 3]), np.array([4, 11], np.int32))
    mirror = Pairs(np.array([0]), np.array([1]), np.array([3], np.int32))
    crop = Pairs(np.array([1]), np.array([3]), np.array([-1], np.int32))
    edges = Edges(near, mirror, crop)
    write_pairs("birds", pairs_table(samples, contents, edges))
    found = read_edges("birds", samples, contents)
    for wanted, got in zip(edges, found, strict=True):
        assert np.array_equal(np.stack(wanted), np.stack(got))
    with pytest.raises(PipelineError, match=r"pairs\.parquet: .* names the unknown sample"):
        read_edges("birds", samples.slice(0, 1), contents_of(samples.slice(0, 1)))
    with pytest.raises(PipelineError, match=r"unknown dataset .fish."):
        read_edges("fish", samples, contents)


def test_components_are_numbered_by_their_first_node() -> None:
    a, b = np.array([4, 1]), np.array([2, 3])
    assert components(5, a, b).tolist() == [0, 1, 2, 1, 2]


def test_kinds_describes_every_kind_of_edge_once() -> None:
    assert tuple(KINDS) == Edges._fields
    for field in ("leak", "plural", "counterpart", "question", "caption"):
        assert len({getattr(kind, field) for kind in KINDS.values()}) == len(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_only_grouped_kinds_make_clusters(name: str) -> None:
    pair = Pairs(np.array([0]), np.array([2]), np.array([4], np.int32))
    clusters = clusters_of(3, Edges(**{name: pair}), 4)
    assert clusters.tolist() == ([0, 1, 0] if KINDS[name].is_grouped else [0, 1, 2])


def test_the_bound_of_groups_applies_to_near_edges_alone() -> None:
    pair = Pairs(np.array([0]), np.array([1]), np.array([5], np.int32))
    assert clusters_of(2, Edges(near=pair), 4).tolist() == [0, 1]
    assert clusters_of(2, Edges(mirror=pair), 4).tolist() == [0, 0], "its search has a bound"
