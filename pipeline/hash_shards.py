"""Pictures hashed on a cluster: a row group of samples a job, a shard of hashes back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from pipeline.cluster import Cluster
from pipeline.hashes import Kind, Known, hashed, ids_of, known_from, pictures, sound, table_of
from pipeline.progress import Progress
from pipeline.samples import samples_path
from pipeline.shards import (
    clear,
    next_shard,
    opened,
    publish,
    read_shard,
    shard_at,
    shards_in,
    write_shard,
)

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
        for shard in cluster.each(hash_shard, jobs):
            progress.advance(take(shard))
    if cluster.storage is None:
        clear(url)


def _row_groups(
    cluster: Cluster, dataset: str, missing: set[str]
) -> Iterator[tuple[RowGroup, set[str]]]:
    """Give (row group, wanted contents) where workers find the pictures, each content once."""
    samples, left = samples_path(dataset).absolute(), set(missing)
    if cluster.storage is not None:
        publish(samples, cluster.url(dataset, "samples"))
        published = shards_in(cluster.url(dataset, "samples"))
    with opened(str(samples)) as file:
        for group in range(file.num_row_groups):
            wanted = left.intersection(ids_of(file, group))
            left -= wanted
            if wanted and cluster.storage is None:
                yield (str(samples), group), wanted
            elif wanted:
                yield (published[group], 0), wanted


def hash_shard(shard: str, row_group: RowGroup, wanted: set[str], kind: Kind) -> str:
    """Hash the wanted contents of a row group on a worker into a shard, and return it."""
    file, group = row_group
    with opened(file) as source:
        found = (hashed(kind, picture) for picture in pictures(source, [group], wanted))
        write_shard(shard, table_of(dict(sound(found, file)), kind))
    return shard
