"""Read and write the tables below data/<dataset>/. The same error always has the same message."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import PipelineError
from pipeline.core.files import replacing
from pipeline.dataset.paths import missing_file

RESTORE = "run `dvc checkout` to restore it, or `dvc repro` to write it again"


def read_parquet(
    path: Path,
    schema: pa.Schema,
    stage: str | None,
    columns: Sequence[str] | None = None,
    remedy: str = RESTORE,
) -> pa.Table:
    """Return a Parquet file as a table: all columns of `schema`, or the named ones.

    `stage` is the stage that writes the file. Raises PipelineError if it is missing, damaged or
    lacks a column; `remedy` tells what to do about a damaged one.
    """
    wanted = list(schema.names) if columns is None else list(columns)
    try:
        table = pq.read_table(path, columns=wanted)
    except FileNotFoundError as error:
        raise missing_file(path, stage) from error
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error, remedy) from error
    missing = [name for name in wanted if name not in table.column_names]
    if missing:
        raise damaged(path, f"column {missing[0]!r} is missing", remedy)
    return table


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a Parquet table, compressed with zstd, atomically."""
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_rows(path: Path, columns: Sequence[str], stage: str | None) -> list[dict[str, str]]:
    """Return the rows of a CSV by column name; the file may have further columns.

    `stage` is the stage that writes the file. Raises PipelineError if it is missing, is not UTF-8
    or lacks a column.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, restval="")
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise damaged(path, f"column {missing[0]!r} is missing")
            return list(reader)
    except FileNotFoundError as error:
        raise missing_file(path, stage) from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, why: object, remedy: str = RESTORE) -> PipelineError:
    """Return the error for a file below data/ that cannot be read; `why` is the reason."""
    return PipelineError(
        f"{path}: file is damaged or was written by another version of kalai: {why}; {remedy}"
    )
