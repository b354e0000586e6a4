"""Read a table that a user made: CSV, TSV or Parquet, as text and row by row."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import PipelineError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
PARQUET = (".parquet", ".pq")


class Table:
    """A CSV or TSV with a header line, or a Parquet file; `columns` has the column names.

    Text is UTF-8, with or without a byte order mark. Empty lines are skipped. Raises PipelineError
    if the file is missing, has another extension or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kind = path.suffix.lower()
        if self.kind not in (*DELIMITERS, *PARQUET):
            allowed = ", ".join((*DELIMITERS, *PARQUET))
            raise PipelineError(f"{path}: unknown kind of table; allowed extensions: {allowed}")
        with self._translated():
            is_parquet = self.kind in PARQUET
            self.columns = pq.read_schema(path).names if is_parquet else next(self._lines(), [])

    def rows(self, columns: list[str]) -> Iterator[list[str] | None]:
        """Yield each row as the values of `columns`, in that order, without spaces around them.

        A missing value is "". A line of a CSV or TSV with too many or too few values is None. Each
        column must be one of `self.columns`. Raises PipelineError if the file is damaged, or if a
        column holds values that are not text, numbers or dates.
        """
        with self._translated():
            if self.kind in PARQUET:
                for batch in pq.ParquetFile(self.path).iter_batches(columns=columns):
                    texts = [batch[name].cast(pa.string()).to_pylist() for name in columns]
                    for row in zip(*texts, strict=True):
                        yield [(text or "").strip() for text in row]
                return
            at = [self.columns.index(name) for name in columns]
            for line in itertools.islice(self._lines(), 1, None):
                is_whole = len(line) == len(self.columns)
                yield [line[index].strip() for index in at] if is_whole else None

    def _lines(self) -> Iterator[list[str]]:
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            yield from filter(None, csv.reader(file, delimiter=DELIMITERS[self.kind]))

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise PipelineError(
                f"{self.path}: file not found; check the name of the table"
            ) from error
        except (pa.ArrowException, csv.Error, UnicodeDecodeError) as error:
            raise PipelineError(f"{self.path}: cannot be read: {error}") from error
