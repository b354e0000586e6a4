"""suspects.parquet: labels that are probably wrong, says a model not trained on the sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipeline.core.errors import PipelineError
from pipeline.dataset.columns import (
    CONTENT_ID,
    FOLD,
    LABEL,
    LABEL_PROBABILITY,
    MARGIN,
    RANK,
    SAMPLE_ID,
    SUGGESTED,
    SUGGESTED_PROBABILITY,
)
from pipeline.dataset.paths import suspects_path
from pipeline.dataset.tables import read_parquet, write_parquet

SCHEMA = pa.schema(
    {
        SAMPLE_ID: pa.string(),
        CONTENT_ID: pa.string(),
        LABEL: pa.string(),
        SUGGESTED: pa.string(),  # the label that the model predicts with confidence
        LABEL_PROBABILITY: pa.float32(),
        SUGGESTED_PROBABILITY: pa.float32(),
        MARGIN: pa.float32(),  # suggested_probability minus label_probability
        FOLD: pa.int32(),  # the fold of the sample; the model was trained on the others
        RANK: pa.int32(),  # 1 is the most suspicious
    }
)


def write_suspects(dataset: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write suspects.parquet; a row is a mapping of column names to values."""
    write_parquet(suspects_path(dataset), pa.Table.from_pylist(list(rows), SCHEMA))


def read_suspects(dataset: str) -> pa.Table:
    """Return suspects.parquet as a table.

    Raises PipelineError if it is missing (`kalai suspects` writes it) or damaged.
    """
    path = suspects_path(dataset)
    command = f"run `kalai suspects {dataset}`"
    if not path.exists():
        raise PipelineError(f"{path}: file not found; {command}")
    return read_parquet(path, SCHEMA, None, remedy=f"{command} to write it again")
