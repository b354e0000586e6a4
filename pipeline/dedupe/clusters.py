"""Stars decide which duplicates are removed; components decide which labels conflict.

A star is a kept content and the contents whose hashes differ from its hash in few bits. A component
is a set of contents that are linked by near-duplicate pairs, directly or through others; the ends
of such a chain may differ a lot, so components never decide removal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
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
    """What dedupe decides about each of n samples; each field is (n,)."""

    status: list[str]  # keep, remove or conflict
    reason: list[str]  # same-bytes, near-duplicate, label-conflict or deleted; "" if it is kept
    keeper: Ints  # the row of the sample that is kept instead; its own row if it is kept
    distance: NDArray[np.int32]  # bits between its content and the keeper's
    label: list[str]  # its label, or the one that people decided


def mark(
    samples: pa.Table,
    contents: Contents,
    near: Pairs,
    within: int,
    verdicts: Mapping[str, Verdict] | None = None,
) -> Marks:
    """Decide for each of n samples whether it is kept, and which sample is kept instead.

    `near` are pairs of m contents; only pairs that differ in at most `within` bits count.
    `verdicts` are people's decisions by content id.

    - Of the samples of one content, the preferred one is kept: see `contents_of`.
    - Of near-duplicates, the centre of each star is kept: see `stars`.
    - All samples of a component with two or more labels are in conflict and stay out.
    - People's decisions override all of these.
    """
    m = len(contents.ids)
    decided = [(verdicts or {}).get(content_id, _UNDECIDED) for content_id in contents.ids]
    action = np.array([verdict.action or "" for verdict in decided], dtype="U16")
    labels = [
        decided[content].label or label
        for content, label in zip(contents.of.tolist(), samples[LABEL].to_pylist(), strict=True)
    ]
    is_apart = (action == "delete") | (action == "not-duplicate")  # counts as near no other content
    near = near.where((near.distance <= within) & ~is_apart[near.a] & ~is_apart[near.b])
    chosen = np.where(action == "keeper", contents.of.size, 0)  # ahead of all others
    preference = contents.preference[contents.best] - chosen
    centre, distance = stars(preference, near, action == "keep")

    _, label = np.unique(np.array(labels), return_inverse=True)
    component = components(m, near.a, near.b)
    is_several = _holds_several(contents.of, label, m)
    is_keeper = (action == "keeper") & ~is_several
    is_decided = ~is_several & ((action == "keep") | is_keeper | is_keeper[centre])
    is_deleted = action == "delete"
    rest = ~is_deleted[contents.of]
    is_mixed = _holds_several(component[contents.of[rest]], label[rest], m)[component]
    is_conflict = is_mixed & ~is_decided & ~is_deleted
    is_near = centre != np.arange(m)

    of = contents.of
    status = np.full(of.size, KEEP, dtype="U8")
    reason = np.full(of.size, "", dtype="U16")
    for rows, its_status, its_reason in (  # a later line overrides the earlier ones
        (is_near[of], REMOVE, NEAR_DUPLICATE),
        (contents.best[of] != np.arange(of.size), REMOVE, SAME_BYTES),
        (is_conflict[of], CONFLICT, LABEL_CONFLICT),
        (is_deleted[of], REMOVE, DELETED),
    ):
        status[rows], reason[rows] = its_status, its_reason
    return Marks(status.tolist(), reason.tolist(), contents.best[centre[of]], distance[of], labels)


def stars(
    preference: Ints, near: Pairs, is_kept: NDArray[np.bool_]
) -> tuple[Ints, NDArray[np.int32]]:
    """Return, for each of m contents, its centre (m,) and its distance from that centre (m,).

    Goes through the contents in order of `preference` (m,), the lowest first. A content that no
    earlier one has taken is a centre, and takes its neighbours in `near` that are still free. So
    every removed content is near the one that is kept, which a chain would not guarantee. A content
    for which `is_kept` (m,) is true is always its own centre.
    """
    m = preference.size
    centre = np.arange(m)
    distance = np.zeros(m, np.int32)
    one, other = np.concatenate([near.a, near.b]), np.concatenate([near.b, near.a])
    bits = np.concatenate([near.distance, near.distance])
    order = np.lexsort((one, preference[one]))
    one, other, bits = one[order], other[order], bits[order]
    starts = np.flatnonzero(np.diff(one, prepend=-1))
    is_free = ~is_kept
    ends = np.append(starts, one.size)[1:]
    for start, end in zip(starts, ends, strict=True):
        content = one[start]
        if centre[content] != content:
            continue
        is_free[content] = False
        neighbours = other[start:end]
        free = is_free[neighbours]
        taken = neighbours[free]
        centre[taken] = content
        distance[taken] = bits[start:end][free]
        is_free[taken] = False
    return centre, distance


def _holds_several(group: Ints, label: Ints, m: int) -> NDArray[np.bool_]:
    """Return which groups (m,) hold two or more labels; `group` and `label` (n,) are per item."""
    low, high = np.full(m, np.iinfo(np.int64).max), np.full(m, -1)
    np.minimum.at(low, group, label)
    np.maximum.at(high, group, label)
    return low < high
