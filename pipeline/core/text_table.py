"""A table that somebody made: CSV, TSV or Parquet, read as text, row by row."""

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
    """A file with named columns. Raises PipelineError, naming the file, when it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kind = path.suffix.lower()
        if self.kind not in (*DELIMITERS, *PARQUET):
            raise PipelineError(f"{path}: expected a {', '.join((*DELIMITERS, PARQUET[0]))}")
        with self._translated():
            is_parquet = self.kind in PARQUET
            self.columns = pq.read_schema(path).names if is_parquet else next(self._lines(), [])

    def rows(self, columns: list[str]) -> Iterator[list[str] | None]:
        """Yield the values of these columns, "" for none; None for a row too long or too short."""
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
            raise PipelineError(f"{self.path}: no such table") from error
        except (pa.ArrowException, csv.Error, UnicodeDecodeError) as error:
            raise PipelineError(f"{self.path}: cannot be read: {error}") from error
