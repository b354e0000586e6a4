"""Hash images and search for near pairs on Dask workers.

Search: `hamming` sorts all values by every choice of blocks, and compares those that agree on the
chosen blocks. Here the bits of the chosen blocks are a key. The key of a value decides which
partition it is sent to. So all values that agree meet in one partition, and `hamming.search_by`
searches there. `search_by` reports a pair only for the first blocks on which the pair agrees, so no
pair is found in two partitions.
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
    all_hashed,
    hash_image,
    known_from,
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

SPREAD_FROM = 200_000  # values; fewer take longer to send than to search here
SHARD = 1 << 20  # values in a shard: 8 MB, and 8 MB more for each choice of blocks
# Choices of blocks in one pass. A pass sends 8 bytes for each value and choice, then drops them.
MASKS = 4
_ODD = np.uint64(0x9E37_79B9_7F4A_7C15)  # 2**64 / golden ratio: hashes keys (Knuth, TAOCP 6.4)

Choice = tuple[int, ...]  # numbers of the chosen blocks


def near_values(cluster: Cluster, dataset: str, values: U64, within: int) -> Pairs:
    """Return the positions of all pairs of `values` (n,) that differ in at most `within` bits.

    The values must be strictly increasing. Workers find the same pairs as `hamming.near_values`.
    This process holds the values and the pairs in memory; the workers together hold up to `MASKS`
    copies of the values.
    """
    if values.size < SPREAD_FROM or within == 0:
        return hamming.near_values(values, within)
    plan = hamming.plan_of(values, within)
    if not plan.chosen:  # the values are so similar that every pair must be compared
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
    """Return the pairs that some choices of blocks find.

    Splits every shard into partitions, then searches every partition.
    """
    bits = max(1, (max(2 * cluster.threads, len(sources)) - 1).bit_length())
    submit = cluster.client.submit
    partitioned = [submit(explode, source, plan, choices, bits, pure=False) for source in sources]
    searched = []
    for partition in range(1 << bits):
        pieces = [submit(operator.getitem, shard, partition, pure=False) for shard in partitioned]
        searched.append(submit(join, plan, choices, pieces, pure=False))
    return [cluster.result(future) for future in searched]


def explode(shard: str, plan: Plan, choices: Sequence[Choice], bits: int) -> list[list[U64]]:
    """Divide the values of a shard by partition and by choice of blocks.

    There are 2 ** `bits` partitions. For one choice, values with equal keys are in one partition.
    """
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
    """Return the pairs of a partition.

    `pieces` are the partition's values, by shard and by choice of blocks.
    """
    found: list[Any] = []
    for chosen, values in zip(choices, zip(*pieces, strict=True), strict=True):
        in_partition = np.concatenate(values)
        if in_partition.size > 1:
            found.append(hamming.search_by(in_partition, plan, chosen))
    return hamming.joined(found)


RowGroup = tuple[str, int]  # the URL of a Parquet file, and which of its row groups


def hash_on(cluster: Cluster, dataset: str, missing: set[str], kind: Kind, known: Known) -> None:
    """Add the hashes of the `missing` contents of a dataset to `known`; workers compute them.

    Workers write the hashes to files (shards). A cluster with a storage keeps them for later runs;
    otherwise they are deleted. Raises PipelineError if an image cannot be decoded.
    """
    policy = hashlib.sha256(kind.policy.encode()).hexdigest()[:8]
    url = cluster.url(dataset, f"hashes/{kind.name}-{policy}")
    left = set(missing)

    def take(shard: str) -> int:
        """Move the hashes of a shard to `known`; return how many were not in `known` before."""
        rows = known_from(read_shard(shard), kind)
        found = {
            name: row for name, row in rows.items() if name in left and len(row) >= kind.enough
        }
        known.update(found)
        left.difference_update(found)
        return len(found)

    earlier = shards_in(url)  # from an earlier run, perhaps one that was killed
    first = next_shard(earlier)
    with Progress(f"hash ({kind.name})", total=len(missing)) as progress:
        progress.advance(sum(map(take, earlier)))
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
    """Yield (row group, contents to hash), each missing content once, in its first row group."""
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
    """Hash the wanted contents of a row group, write the hashes to a shard and return its URL.

    Raises PipelineError if an image cannot be decoded.
    """
    file, group = row_group
    with open_parquet(file) as source:
        found = (hash_image(kind, image) for image in images_by_content(source, [group], wanted))
        write_shard(shard, table_of(dict(all_hashed(found, file)), kind))
    return shard
