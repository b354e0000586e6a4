"""Convert archived letters on a Dask cluster: batches go to the workers, shards come back.

A .tar.gz can only be read from its beginning, so this process reads it and the workers convert.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import pyarrow as pa

from pipeline.convert.archive import Letter
from pipeline.convert.letters import COLUMNS, Converted, convert_letters
from pipeline.dataset import samples
from pipeline.dataset.pen_settings import PenSettings
from pipeline.dataset.rejected import RejectedRow
from pipeline.scale.dask import Cluster
from pipeline.scale.shards import shard_at, take_shard, write_shard

LETTERS = 2048  # in a shard: about a second of work; BATCH_BYTES limits a batch, too

_SCHEMA = pa.schema([(name, samples.COLUMNS[name]) for name in COLUMNS])

Part = TypeVar("Part")


def converted_on(
    cluster: Cluster,
    dataset: str,
    batches: Iterable[tuple[Part, str, list[Letter]]],
    drawing: PenSettings,
) -> Iterator[tuple[Part, str, Converted]]:
    """Convert batches of (part, part name, letters), each to one shard; yield results in order."""
    sent: deque[tuple[Part, str]] = deque()
    with cluster.scratch(dataset, "convert") as url:

        def jobs() -> Iterator[tuple[Any, ...]]:
            for number, (part, name, letters) in enumerate(batches):
                sent.append((part, name))
                yield shard_at(url, number), letters, drawing

        for shard, rejected in cluster.map_jobs(convert_shard, jobs()):
            columns = take_shard(shard).to_pydict()
            yield *sent.popleft(), Converted(columns, rejected)


def convert_shard(
    shard: str, letters: list[Letter], drawing: PenSettings
) -> tuple[str, list[RejectedRow]]:
    """Convert letters on a worker; return the shard with the samples, and the rejected rows."""
    converted = convert_letters(drawing, letters)
    table = pa.Table.from_pydict(converted.columns, schema=_SCHEMA)
    write_shard(shard, table)
    return shard, converted.rejected
