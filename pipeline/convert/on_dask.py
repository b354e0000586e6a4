"""Archived handwriting converted on a cluster: letters go out by the batch, shards come back.

A .tar.gz can only be read from its beginning, so one process reads it and the rest is spread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import pyarrow as pa

from pipeline.convert.hp_archive import Letter
from pipeline.convert.letters import COLUMNS, Converted, convert_letters
from pipeline.dataset import samples
from pipeline.dataset.pen_settings import Drawing
from pipeline.scale.dask import Cluster
from pipeline.scale.shards import shard_at, take_shard, write_shard

LETTERS = 2048  # a shard: a second of work; at most the batch's own bound of bytes

_SCHEMA = pa.schema([(name, samples.COLUMNS[name]) for name in COLUMNS])

Part = TypeVar("Part")
Rejections = list[tuple[str, str, str, str, str]]


def converted_on(
    cluster: Cluster,
    dataset: str,
    batches: Iterable[tuple[Part, str, list[Letter]]],
    drawing: Drawing,
) -> Iterator[tuple[Part, str, Converted]]:
    """Convert batches of (part, its name, letters) in their order, a shard a batch."""
    sent: deque[tuple[Part, str]] = deque()
    with cluster.scratch(dataset, "convert") as url:

        def jobs() -> Iterator[tuple[Any, ...]]:
            for number, (part, name, letters) in enumerate(batches):
                sent.append((part, name))
                yield shard_at(url, number), letters, drawing

        for shard, rejected in cluster.each(convert_shard, jobs()):
            columns = take_shard(shard).to_pydict()
            yield *sent.popleft(), Converted(columns, rejected)


def convert_shard(shard: str, letters: list[Letter], drawing: Drawing) -> tuple[str, Rejections]:
    """Convert letters on a worker into a shard; return it, and who is not in it."""
    converted = convert_letters(drawing, letters)
    table = pa.Table.from_pydict(converted.columns, schema=_SCHEMA)
    write_shard(shard, table)
    return shard, converted.rejected
