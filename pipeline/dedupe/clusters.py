"""Which pictures are the same one: stars for removal, components for conflicts and for groups.

A *content* is a picture by its bytes; several samples may hold it. Contents are numbered in the
order of their ids and samples compared by a total order, so that no result depends on the order
of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.dataset.columns import LABEL
from pipeline.dataset.contents import Contents, Ints
from pipeline.dataset.decisions import Verdict
from pipeline.dataset.dedupe_result import (
    CONFLICT,
    DELETED,
    KEEP,
    LABEL_CONFLICT,
    NEAR_DUPLICATE,
    REMOVE,
    SAME_BYTES,
)
from pipeline.dataset.pairs_table import Pairs, components

_UNDECIDED = Verdict()


class Marks(NamedTuple):
    """A verdict on each of n samples."""

    status: list[str]  # keep, remove or conflict
    reason: list[str]  # "", same-bytes, near-duplicate, label-conflict or deleted
    keeper: Ints  # the sample kept in its place; itself when kept
    distance: NDArray[np.int32]  # from its content to the keeper's, in bits
    label: list[str]  # as decided


def contents_of(samples: pa.Table, is_first: NDArray[np.bool_] | None = None) -> Contents:
    """Group samples by content and order them: larger original, more bytes, rank, id.

    Those that are `is_first` (n,) come before all others.
    """
    encoded = pc.dictionary_encode(samples["content_id"].combine_chunks())
    order = np.asarray(pc.sort_indices(encoded.dictionary))
    number = np.empty(order.size, np.int64)
    number[order] = np.arange(order.size)
    of = number[np.asarray(encoded.indices)]
    area = pc.multiply(
        pc.cast(pc.coalesce(samples["original_width"], samples["width"]), pa.int64()),
        pc.cast(pc.coalesce(samples["original_height"], samples["height"]), pa.int64()),
    )
    by = pa.table(
        {
            "first": np.zeros(of.size, bool) if is_first is None else is_first,
            "area": area,
            "bytes": samples["original_bytes"],
            "rank": samples["rank"],
            "id": samples["sample_id"],
        }
    )
    ways = ("descending", "descending", "descending", "ascending", "ascending")  # nulls last
    keys = list(zip(by.column_names, ways, strict=True))
    first = np.asarray(pc.sort_indices(by, sort_keys=keys))
    place = np.empty(first.size, np.int64)
    place[first] = np.arange(first.size)
    best = np.empty(order.size, np.int64)
    best[of[first[::-1]]] = first[::-1]  # the last one written is the first in order
    return Contents(encoded.dictionary.take(pa.array(order)).to_pylist(), of, place, best)


def mark(
    samples: pa.Table,
    contents: Contents,
    near: Pairs,
    within: int,
    verdicts: Mapping[str, Verdict] | None = None,
) -> Marks:
    """Say of each sample whether it stays, and for whom it goes.

    `near` are pairs of contents, `verdicts` what people decided, by content id. Removal is by
    stars: in order of preference a content that no earlier one has taken is kept and takes those
    within `within` of it. A component within `within` that holds two labels is a conflict and
    stays out. A person's word stands above both.
    """
    m = len(contents.ids)
    said = [(verdicts or {}).get(content_id, _UNDECIDED) for content_id in contents.ids]
    action = np.array([verdict.action or "" for verdict in said], dtype="U16")
    labels = [
        said[content].label or label
        for content, label in zip(contents.of.tolist(), samples[LABEL].to_pylist(), strict=True)
    ]
    is_loose = (action == "delete") | (action == "not-duplicate")
    edges = (near.distance <= within) & ~is_loose[near.a] & ~is_loose[near.b]
    near = near.where(edges)
    preference = contents.place[contents.best] - np.where(action == "keeper", contents.of.size, 0)
    centre, distance = stars(preference, near, action == "keep")

    _, label = np.unique(np.array(labels), return_inverse=True)
    component = components(m, near.a, near.b)
    is_several = _holds_several(contents.of, label, m)
    is_keeper = (action == "keeper") & ~is_several
    is_decided = ~is_several & ((action == "keep") | is_keeper | is_keeper[centre])
    is_gone = action == "delete"
    here = ~is_gone[contents.of]
    is_mixed = _holds_several(component[contents.of[here]], label[here], m)[component]
    is_conflict = is_mixed & ~is_decided & ~is_gone
    is_taken = centre != np.arange(m)

    of = contents.of
    status = np.full(of.size, KEEP, dtype="U8")
    reason = np.full(of.size, "", dtype="U16")
    for where, what, why in (
        (is_taken[of], REMOVE, NEAR_DUPLICATE),
        (contents.best[of] != np.arange(of.size), REMOVE, SAME_BYTES),
        (is_conflict[of], CONFLICT, LABEL_CONFLICT),
        (is_gone[of], REMOVE, DELETED),
    ):
        status[where], reason[where] = what, why
    return Marks(status.tolist(), reason.tolist(), contents.best[centre[of]], distance[of], labels)


def stars(
    preference: Ints, near: Pairs, is_kept: NDArray[np.bool_]
) -> tuple[Ints, NDArray[np.int32]]:
    """Return each content's centre, itself when it is one, and its distance to it.

    `preference` (m,): lower comes first. Where `is_kept`, a content is a centre in any case.
    """
    m = preference.size
    centre = np.arange(m)
    distance = np.zeros(m, np.int32)
    one, other = np.concatenate([near.a, near.b]), np.concatenate([near.b, near.a])
    bits = np.concatenate([near.distance, near.distance])
    order = np.lexsort((one, preference[one]))
    one, other, bits = one[order], other[order], bits[order]
    starts = np.flatnonzero(np.diff(one, prepend=-1))
    is_open = ~is_kept
    ends = np.append(starts, one.size)[1:]
    for start, end in zip(starts, ends, strict=True):
        content = one[start]
        if centre[content] != content:
            continue
        is_open[content] = False
        around = other[start:end]
        free = is_open[around]
        taken = around[free]
        centre[taken] = content
        distance[taken] = bits[start:end][free]
        is_open[taken] = False
    return centre, distance


def _holds_several(place: Ints, label: Ints, m: int) -> NDArray[np.bool_]:
    """Tell of each of m places whether it holds two different labels or more."""
    low, high = np.full(m, np.iinfo(np.int64).max), np.full(m, -1)
    np.minimum.at(low, place, label)
    np.maximum.at(high, place, label)
    return low < high
