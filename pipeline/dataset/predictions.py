"""predictions.parquet: the model's predictions for the validation and test sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipeline.dataset.columns import (
    CONTENT_ID,
    LABEL,
    LABEL_PROBABILITY,
    LOSS,
    PART,
    PREDICTED,
    PROBABILITY,
    SAMPLE_ID,
    TOP3,
)
from pipeline.dataset.paths import predictions_path
from pipeline.dataset.tables import read_parquet, write_parquet

SCHEMA = pa.schema(
    {
        SAMPLE_ID: pa.string(),
        CONTENT_ID: pa.string(),
        PART: pa.string(),
        LABEL: pa.string(),
        PREDICTED: pa.string(),
        PROBABILITY: pa.float32(),  # of the predicted label
        LABEL_PROBABILITY: pa.float32(),
        LOSS: pa.float32(),
        TOP3: pa.list_(pa.string()),
    }
)


def write_predictions(dataset: str, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write predictions.parquet: columns by name, with one value for each sample."""
    write_parquet(predictions_path(dataset), pa.table(dict(columns), schema=SCHEMA))


def read_predictions(dataset: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Return predictions.parquet as a table, all columns or the named ones.

    Raises PipelineError if it is missing or damaged.
    """
    return read_parquet(predictions_path(dataset), SCHEMA, "evaluate", columns)
