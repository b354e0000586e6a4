"""arrivals.parquet: when each image was first split, by a dataset's own count from 1.

An image stays in the part that it had before the newest images arrived. Which of two
near-duplicates came first cannot be read off the images, so this table keeps it. A dataset without
it is new.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pipeline.dataset.columns import ARRIVED, CONTENT_ID
from pipeline.dataset.contents import Ints
from pipeline.dataset.paths import arrivals_path
from pipeline.dataset.tables import read_parquet, write_parquet

SCHEMA = pa.schema([(CONTENT_ID, pa.string()), (ARRIVED, pa.int32())])


def read_arrivals(dataset: str, content_ids: Sequence[str]) -> Ints:
    """Return when each of m contents arrived (m,): the next number if it was never split.

    Raises PipelineError if the file is damaged.
    """
    known = _read(dataset)
    new = max(known.values(), default=0) + 1
    return np.array([known.get(content_id, new) for content_id in content_ids], np.int64)


def write_arrivals(dataset: str, content_ids: Sequence[str], arrived: Ints) -> None:
    """Add contents to those that were split before; contents that are gone stay in the table."""
    known = dict(zip(content_ids, arrived.tolist(), strict=True)) | _read(dataset)
    rows = sorted(known.items())
    table = pa.table([[row[place] for row in rows] for place in range(2)], schema=SCHEMA)
    write_parquet(arrivals_path(dataset), table)


def _read(dataset: str) -> dict[str, int]:
    path = arrivals_path(dataset)
    if not path.exists():
        return {}
    table = read_parquet(path, SCHEMA, "split")
    return dict(zip(table[CONTENT_ID].to_pylist(), table[ARRIVED].to_pylist(), strict=True))
