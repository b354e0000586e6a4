"""Which pictures came when, by a dataset's own count: 1 are those that were split first.

Pictures stay in the parts that they had before the newest came, and who was first cannot be read
off the pictures: of two near copies either may have been. A dataset without this file is as new.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.duplicates import Ints
from pipeline.errors import PipelineError
from pipeline.files import replacing
from pipeline.samples import dataset_folder

SCHEMA = pa.schema([("content_id", pa.string()), ("arrived", pa.int32())])


def read_arrivals(dataset: str, content_ids: Sequence[str]) -> Ints:
    """Return when each of m contents arrived (m,): the next number where it was never split.

    Raises PipelineError for a file that is none of ours.
    """
    known = _read(_path(dataset))
    new = max(known.values(), default=0) + 1
    return np.array([known.get(content_id, new) for content_id in content_ids], np.int64)


def write_arrivals(dataset: str, content_ids: Sequence[str], arrived: Ints) -> None:
    """Add the contents to those that were split before; what has gone is remembered."""
    path = _path(dataset)
    known = dict(zip(content_ids, arrived.tolist(), strict=True)) | _read(path)
    rows = sorted(known.items())
    table = pa.table([[row[place] for row in rows] for place in range(2)], schema=SCHEMA)
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _path(dataset: str) -> Path:
    return dataset_folder(dataset) / "arrivals.parquet"


def _read(path: Path) -> dict[str, int]:
    try:
        table = pq.read_table(path, schema=SCHEMA)
    except FileNotFoundError:
        return {}
    except pa.ArrowException as error:
        raise PipelineError(f"{path}: not a table of arrivals: {error}") from error
    return dict(zip(table["content_id"].to_pylist(), table["arrived"].to_pylist(), strict=True))
