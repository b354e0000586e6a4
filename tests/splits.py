"""What dedupe leaves of small datasets, and params to split them by."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core.params import Dedupe, Split
from pipeline.dataset.columns import SAMPLE_ID
from pipeline.dataset.contents import contents_of
from pipeline.dataset.dedupe_result import DedupeResult
from pipeline.dataset.pairs_table import Edges, clusters_of
from pipeline.dedupe.hamming import near_pairs
from pipeline.split.partition import Partition
from tests.tables import sample, table

PHASH = Dedupe(method="phash", remove_within=2, group_within=4, review_within=6)
EXACT = Dedupe(method="exact")


def deduped(
    rows: Iterable[Mapping[str, Any]] | pa.Table,
    hashes: Mapping[str, int] | None = None,
    later: Collection[str] = (),
) -> DedupeResult:
    """Return what dedupe leaves of rows.

    `hashes` are by content id; without them the method is exact. The content ids of `later` arrived
    after all others.
    """
    samples = rows if isinstance(rows, pa.Table) else table(rows)
    contents = contents_of(samples)
    near = Edges().near
    if hashes is not None:
        values = np.array([hashes[content_id] for content_id in contents.ids], np.uint64)
        near = near_pairs(values, PHASH.review_within)
    edges = Edges(near)
    clusters = clusters_of(len(contents.ids), edges, PHASH.group_within)[contents.of]
    arrived = np.array([1 + (name in later) for name in contents.ids], np.int64)[contents.of]
    policy = EXACT if hashes is None else PHASH
    return DedupeResult(samples, contents, edges, clusters, policy, arrived)


def params(**values: Any) -> Split:
    """Return params of split: by groups, a fifth each for validation and test, unless given."""
    return Split(**{"method": "group", "valid": 0.2, "test": 0.2, **values})


def by_id(result: DedupeResult, found: Partition) -> dict[str, str]:
    """Return the part of each sample by its id."""
    return dict(zip(result.samples[SAMPLE_ID].to_pylist(), found.part, strict=True))


def official() -> list[dict[str, Any]]:
    """Return rows of twelve writers in the training set, and a test set of unknown writers."""
    rows = [
        sample(f"{writer}-{n}", label, group=f"w{writer}", official_part="train")
        for writer in range(12)
        for n, label in enumerate("aabb")
    ]
    return rows + [
        sample(f"t{n}", "ab"[n % 2], official_part="test", original_width=1) for n in range(10)
    ]
