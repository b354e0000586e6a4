"""Your own list of URLs in place of a search: a text file, a CSV or a Parquet file."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

from pipeline.core.errors import PipelineError
from pipeline.core.params import Crawl, Dance
from pipeline.crawl.engines.engine import Engine, Fetch, Page, Result
from pipeline.crawl.engines.parsing import clean_text

PAGE_SIZE = 500
_FIELDS = [field.name for field in fields(Result) if field.name != "url"]


class UrlList(Engine):
    """A text file with one URL per line, or a CSV or Parquet file with a column `url`.

    Other columns are read, too, if they are named like a field of Result. The query is the path of
    the file.
    """

    name = "urls"
    no_results = "the list has no URLs"

    def __init__(self) -> None:
        self._rows: dict[str, Iterator[Mapping[str, Any]]] = {}  # unread rows by path

    @classmethod
    def from_params(cls, key: str, dance: Dance, params: Crawl) -> Self:
        """Return the engine. Raises PipelineError if the class has no list of URLs."""
        if dance.urls is None:
            raise PipelineError(
                f"params.yaml: dances.{key}.urls: missing; the engine 'urls' needs the path of a "
                ".txt, .csv or .parquet file with URLs"
            )
        return cls()

    def queries(self, dance: Dance) -> Sequence[str]:
        """Return the path of the class's list."""
        return [dance.urls] if dance.urls is not None else []

    def page(self, query: str, number: int, offset: int, fetch: Fetch) -> Page:
        """Return the next rows of the file. Raises PipelineError if it has no URLs to read."""
        if number == 0:
            self._rows[query] = _rows(Path(query))
        rows = list(itertools.islice(self._rows[query], PAGE_SIZE))
        results = [
            Result(url, **{name: clean_text(row.get(name)) for name in _FIELDS})
            for row in rows
            if (url := clean_text(row.get("url")))
        ]
        return Page(results, len(rows), is_last=len(rows) < PAGE_SIZE)


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a URL list. Raises PipelineError if it is missing or has no URLs."""
    if not path.is_file():
        raise PipelineError(f"{path}: file not found; dances.<class>.urls in params.yaml names it")
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.ParquetFile(path)
        except pa.ArrowException as error:
            raise PipelineError(f"{path}: cannot be read: {error}") from error
        _check_column(path, table.schema_arrow.names)
        for batch in table.iter_batches():
            yield from batch.to_pylist()
    elif path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            _check_column(path, reader.fieldnames or [])
            yield from reader
    else:
        with path.open(encoding="utf-8-sig") as file:
            for line in file:
                if line.strip() and not line.startswith("#"):
                    yield {"url": line}


def _check_column(path: Path, names: Sequence[str]) -> None:
    if "url" not in names:
        raise PipelineError(f"{path}: no column 'url'; it has: {', '.join(names)}")
