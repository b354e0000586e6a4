"""The pair search past one machine: explode values by mask and key, join equal keys, filter.

`pairs` sorts all values by every choice of blocks (a mask) and compares those that agree on it.
Here the values of a mask travel to partitions by what they hold under it (the key), so that all
that agree meet in one partition, where `pairs` searches as ever. It tells a pair under the first
mask that brings it together and no other, so that what all partitions find is distinct.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline import pairs
from pipeline.cluster import Cluster
from pipeline.pairs import U64, Found, Pairs, Plan
from pipeline.shards import read_shard, shard_at, shards_in, write_shard

SPREAD_FROM = 200_000  # values; fewer are searched here in the time that sending them takes
SHARD = 1 << 20  # values a shard: 8 MB, and 8 MB a mask when exploded
MASKS = 4  # a pass; a pass sends 8 bytes a value and mask, and what it sent is then dropped
_ODD = np.uint64(0x9E37_79B9_7F4A_7C15)  # 2**64 / golden ratio: spreads keys (Knuth 6.4)

Choice = tuple[int, ...]


def near_values(cluster: Cluster, dataset: str, values: U64, within: int) -> Pairs:
    """Return what `pairs.near_values` does of strictly increasing `values` (n,), found by workers.

    The driver holds the values and the pairs; the workers, together, `MASKS` times the values.
    """
    if values.size < SPREAD_FROM or within == 0:
        return pairs.near_values(values, within)
    plan = pairs.plan_of(values, within)
    if not plan.chosen:  # so tight that every pair is compared
        return pairs.near_values(values, within)
    choices = list(combinations(range(len(plan.blocks)), plan.chosen))
    found: list[Found] = []
    with cluster.scratch(dataset, "values") as url:
        for number, start in enumerate(range(0, values.size, SHARD)):
            table = pa.table({"value": values[start : start + SHARD]})
            write_shard(shard_at(url, number), table)
        for first in range(0, len(choices), MASKS):
            found += _pass(cluster, shards_in(url), plan, choices[first : first + MASKS])
    return pairs.placed(values, found)


def _pass(
    cluster: Cluster, sources: Sequence[str], plan: Plan, choices: Sequence[Choice]
) -> list[Found]:
    """Search by some choices of blocks: explode every shard, join every partition."""
    bits = max(1, (max(2 * cluster.threads, len(sources)) - 1).bit_length())
    submit = cluster.client.submit
    exploded = [submit(explode, source, plan, choices, bits, pure=False) for source in sources]
    joined = []
    for partition in range(1 << bits):
        pieces = [submit(operator.getitem, shard, partition, pure=False) for shard in exploded]
        joined.append(submit(join, plan, choices, pieces, pure=False))
    return [cluster.result(future) for future in joined]


def explode(shard: str, plan: Plan, choices: Sequence[Choice], bits: int) -> list[list[U64]]:
    """Return a shard's values by partition (2 ** bits) and choice, equal keys in one partition."""
    values = np.asarray(read_shard(shard)["value"])
    by_choice = []
    for chosen in choices:
        key = values & pairs.mask_of(bit for block in chosen for bit in plan.blocks[block])
        partition = (key * _ODD) >> np.uint64(64 - bits)
        order = np.argsort(partition, kind="stable")
        ends = np.cumsum(np.bincount(partition.astype(np.int64), minlength=1 << bits))[:-1]
        by_choice.append(np.split(values[order], ends))
    return [list(pieces) for pieces in zip(*by_choice, strict=True)]


def join(plan: Plan, choices: Sequence[Choice], pieces: Sequence[Sequence[U64]]) -> Found:
    """Return a partition's pairs; `pieces` are what each shard sends to it, by choice."""
    found: list[Any] = []
    for chosen, values in zip(choices, zip(*pieces, strict=True), strict=True):
        meeting = np.concatenate(values)
        if meeting.size > 1:
            found.append(pairs.search_by(meeting, plan, chosen))
    return pairs.joined(found)
