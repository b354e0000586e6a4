"""arrivals.parquet: for each image, the number of the `split` run that first saw it, from 1.

Split keeps an image in its part when near-duplicates of it arrive later. The images do not show
which came first, so this table records it. A new dataset has no such table.
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
    """Return the number of the `split` run that first saw each of m images, as (m,) integers.

    An image that no run has seen gets the number of the next run.

    Raises PipelineError if the file is damaged.
    """
    known = _read(dataset)
    new = max(known.values(), default=0) + 1
    return np.array([known.get(content_id, new) for content_id in content_ids], np.int64)


def write_arrivals(dataset: str, content_ids: Sequence[str], arrived: Ints) -> None:
    """Record which run first saw each content; contents from earlier runs stay in the table."""
    known = dict(zip(content_ids, arrived.tolist(), strict=True)) | _read(dataset)
    rows = sorted(known.items())
    table = pa.table([[row[column] for row in rows] for column in range(2)], schema=SCHEMA)
    write_parquet(arrivals_path(dataset), table)


def _read(dataset: str) -> dict[str, int]:
    path = arrivals_path(dataset)
    if not path.exists():
        return {}
    table = read_parquet(path, SCHEMA, "split")
    return dict(zip(table[CONTENT_ID].to_pylist(), table[ARRIVED].to_pylist(), strict=True))
