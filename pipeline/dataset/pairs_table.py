"""pairs.parquet: pairs of samples that may show the same image, by kind.

Split reads it to keep such samples in one part; the review page shows the pairs to people.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.core.params import Dedupe
from pipeline.dataset.columns import DISTANCE, KIND, SAMPLE_ID, A, B
from pipeline.dataset.contents import Contents, Ints
from pipeline.dataset.paths import pairs_path
from pipeline.dataset.tables import damaged, read_parquet, write_parquet

SAME = "same"  # the kind for pairs with the same bytes; the other kinds are the fields of Edges
NEAR, MIRROR, CROP = "near", "mirror", "crop"
SCHEMA = pa.schema(
    [(A, pa.string()), (B, pa.string()), (DISTANCE, pa.int32()), (KIND, pa.string())]
)


class Pairs(NamedTuple):
    """Sorted pairs of indices `a` < `b`, and their `distance` in bits; each field is (pairs,)."""

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    distance: NDArray[np.int32]

    def where(self, keep: NDArray[np.bool_]) -> Pairs:
        """Return the pairs for which `keep` (pairs,) is true."""
        return Pairs(self.a[keep], self.b[keep], self.distance[keep])


NONE = Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int32))


class Edges(NamedTuple):
    """Pairs of contents (distinct images) by kind; a pair has one kind only.

    KINDS describes each field.
    """

    near: Pairs = NONE
    mirror: Pairs = NONE
    crop: Pairs = NONE


class EdgeKind(NamedTuple):
    """How a kind of edge is treated and described."""

    is_grouped: bool  # both images of a pair stay in one part of the split
    is_searched: Callable[[Dedupe], bool]  # whether these params look for such pairs
    leak: str  # its name in the metrics of dedupe and of leaks
    plural: str  # what a list of searches that were not made calls such pairs
    counterpart: str  # what the training image of a pair is to the held-out one
    question: str  # the heading under which people review the pairs
    caption: str  # what became of the pairs, on sheets and in the report


# One entry for each field of Edges, in the same order.
KINDS: dict[str, EdgeKind] = {
    NEAR: EdgeKind(
        is_grouped=True,  # up to group_within bits
        is_searched=lambda params: params.method == "phash",
        leak="near_duplicate",
        plural="near-duplicates",
        counterpart="a near-duplicate",
        question="Possible near-duplicates",
        caption="possible near-duplicates, both kept",
    ),
    MIRROR: EdgeKind(
        is_grouped=True,
        is_searched=lambda params: params.method == "phash" and params.mirror,
        leak="mirrored",
        plural="mirror images",
        counterpart="its mirror image",
        question="Possible mirror images",
        caption="mirror images, both kept in one part",
    ),
    CROP: EdgeKind(
        is_grouped=False,  # most of these pairs arise by chance
        is_searched=lambda params: params.crop,
        leak="crop",
        plural="crops",
        counterpart="a crop of it, or an image that it is a crop of",
        question="Possible crops",
        caption="possible crops, both kept",
    ),
}


def each_once(one: Ints, other: Ints, distance: NDArray[np.int32]) -> Pairs:
    """Return pairs sorted and without repeats; a repeated pair keeps its smallest distance."""
    a, b = np.minimum(one, other), np.maximum(one, other)
    order = np.lexsort((distance, b, a))
    a, b, distance = a[order], b[order], distance[order]
    is_new = np.ones(a.size, bool)
    is_new[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    return Pairs(a, b, distance).where(is_new)


def components(m: int, a: Ints, b: Ints) -> Ints:
    """Return the connected component of each of m nodes, as (m,) numbers from 0.

    `a` and `b` (pairs,) are the ends of the edges. Components are numbered by their first node.
    """
    graph = coo_array((np.ones(a.size, bool), (a, b)), shape=(m, m))
    _, found = connected_components(graph, directed=False)
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int64)


def clusters_of(m: int, edges: Edges, within: int) -> Ints:
    """Return the cluster of each of m contents, as (m,) numbers.

    Mirror images and near-duplicates within a distance of `within` bits are in one cluster.
    Clusters serve to keep such images in one part, not to remove images: the two ends of a long
    chain of pairs may look different.
    """
    joining = [
        pairs.where(pairs.distance <= within) if name == NEAR else pairs
        for name, pairs in edges._asdict().items()
        if KINDS[name].is_grouped
    ]
    a, b = (np.concatenate([pairs[end] for pairs in joining]) for end in (0, 1))
    return components(m, a, b)


def pairs_table(samples: pa.Table, contents: Contents, edges: Edges) -> pa.Table:
    """Return pairs.parquet as a table: copies of one content first, then the pairs of `edges`.

    In a pair of copies, `a` is the content's preferred sample. In a pair of contents, each content
    is represented by its preferred sample.
    """
    copies = np.flatnonzero(contents.best[contents.of] != np.arange(contents.of.size))
    copies = copies[np.argsort(contents.preference[copies])]
    a, b = [contents.best[contents.of[copies]]], [copies]
    distance, kind = [np.zeros(copies.size, np.int32)], [SAME] * copies.size
    for name, pairs in edges._asdict().items():
        a.append(contents.best[pairs.a])
        b.append(contents.best[pairs.b])
        distance.append(pairs.distance)
        kind += [name] * pairs.a.size
    ids = samples[SAMPLE_ID].combine_chunks()
    return pa.table(
        [
            ids.take(pa.array(np.concatenate(a))),
            ids.take(pa.array(np.concatenate(b))),
            np.concatenate(distance),
            kind,
        ],
        schema=SCHEMA,
    )


def write_pairs(dataset: str, table: pa.Table) -> None:
    """Write pairs.parquet."""
    write_parquet(pairs_path(dataset), table)


def read_pairs(dataset: str) -> pa.Table:
    """Return pairs.parquet as a table.

    Raises PipelineError if it is missing or damaged.
    """
    return read_parquet(pairs_path(dataset), SCHEMA, "dedupe")


def read_edges(dataset: str, samples: pa.Table, contents: Contents) -> Edges:
    """Return the pairs in pairs.parquet as pairs of contents.

    Raises PipelineError if the file is missing, damaged or names a sample that does not exist.
    """
    table = read_pairs(dataset)
    of = dict(zip(samples[SAMPLE_ID].to_pylist(), contents.of.tolist(), strict=True))
    kinds = np.array(table[KIND].to_pylist(), dtype="U8")
    distance = np.asarray(table[DISTANCE])
    try:
        a, b = (np.array([of[name] for name in table[end].to_pylist()], np.int64) for end in (A, B))
    except KeyError as error:
        raise damaged(pairs_path(dataset), f"it names the unknown sample {error}") from error
    found = {}
    for name in Edges._fields:
        rows = kinds == name
        found[name] = each_once(a[rows], b[rows], distance[rows])
    return Edges(**found)
