"""The pair search past one machine: explode values by mask and key, join equal keys, filter.

`pairs` sorts all values by every choice of blocks (a mask) and compares those that agree on it.
Here the values of a mask travel to partitions by what they hold under it (the key), so that all
that agree meet in one partition, where `pairs` searches as ever. It tells a pair under the first
mask that brings it together and no other, so that what all partitions find is distinct.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.core.progress import Progress
from pipeline.dataset.pairs_table import Pairs
from pipeline.dataset.paths import samples_path
from pipeline.dataset.stored_images import content_ids, images_by_content
from pipeline.dedupe import hamming
from pipeline.dedupe.hamming import U64, Found, Plan
from pipeline.dedupe.hash_cache import (
    Kind,
    Known,
    hashed,
    known_from,
    sound,
    table_of,
)
from pipeline.scale.dask import Cluster
from pipeline.scale.shards import (
    clear,
    next_shard,
    open_parquet,
    publish,
    read_shard,
    shard_at,
    shards_in,
    write_shard,
)

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
        return hamming.near_values(values, within)
    plan = hamming.plan_of(values, within)
    if not plan.chosen:  # so tight that every pair is compared
        return hamming.near_values(values, within)
    choices = list(combinations(range(len(plan.blocks)), plan.chosen))
    found: list[Found] = []
    with cluster.scratch(dataset, "values") as url:
        for number, start in enumerate(range(0, values.size, SHARD)):
            table = pa.table({"value": values[start : start + SHARD]})
            write_shard(shard_at(url, number), table)
        for first in range(0, len(choices), MASKS):
            found += _pass(cluster, shards_in(url), plan, choices[first : first + MASKS])
    return hamming.placed(values, found)


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
        key = values & hamming.mask_of(bit for block in chosen for bit in plan.blocks[block])
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
            found.append(hamming.search_by(meeting, plan, chosen))
    return hamming.joined(found)


RowGroup = tuple[str, int]  # the URL of a Parquet file, and which of its row groups


def hash_on(cluster: Cluster, dataset: str, missing: set[str], kind: Kind, known: Known) -> None:
    """Add to `known` the hashes of the `missing` contents of a dataset.

    In a storage the shards stay and spare the next run the work, whoever runs it; otherwise they
    go, and what they held is the caller's to keep.
    """
    policy = hashlib.sha256(kind.policy.encode()).hexdigest()[:8]
    url = cluster.url(dataset, f"hashes/{kind.name}-{policy}")
    left = set(missing)

    def take(shard: str) -> int:
        rows = known_from(read_shard(shard), kind)
        found = {
            name: row for name, row in rows.items() if name in left and len(row) >= kind.enough
        }
        known.update(found)
        left.difference_update(found)
        return len(found)

    there = shards_in(url)  # what an earlier run, or one that was killed, has hashed
    first = next_shard(there)
    with Progress(f"hash ({kind.name})", total=len(missing)) as progress:
        progress.advance(sum(map(take, there)))
        jobs = (
            (shard_at(url, number), *job, kind)
            for number, job in enumerate(_row_groups(cluster, dataset, left), first)
        )
        for shard in cluster.map_jobs(hash_shard, jobs):
            progress.advance(take(shard))
    if cluster.storage is None:
        clear(url)


def _row_groups(
    cluster: Cluster, dataset: str, missing: set[str]
) -> Iterator[tuple[RowGroup, set[str]]]:
    """Give (row group, wanted contents) where workers find the each content once."""
    samples, left = samples_path(dataset).absolute(), set(missing)
    if cluster.storage is not None:
        publish(samples, cluster.url(dataset, "samples"))
        published = shards_in(cluster.url(dataset, "samples"))
    with open_parquet(str(samples)) as file:
        for group in range(file.num_row_groups):
            wanted = left.intersection(content_ids(file, group))
            left -= wanted
            if wanted and cluster.storage is None:
                yield (str(samples), group), wanted
            elif wanted:
                yield (published[group], 0), wanted


def hash_shard(shard: str, row_group: RowGroup, wanted: set[str], kind: Kind) -> str:
    """Hash the wanted contents of a row group on a worker into a shard, and return it."""
    file, group = row_group
    with open_parquet(file) as source:
        found = (hashed(kind, picture) for picture in images_by_content(source, [group], wanted))
        write_shard(shard, table_of(dict(sound(found, file)), kind))
    return shard
