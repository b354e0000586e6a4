"""The border: one table of samples, whatever door they came through.

`data/<dataset>/samples.parquet` holds one row a sample in the column types of `SCHEMA`. Its
`image` column (`{bytes, path}`) and metadata are the form that Hugging Face `datasets`, pandas,
DuckDB and Polars open as an image data set.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.files import replacing
from pipeline.dataset.columns import (
    ATTRIBUTION,
    CONTENT_ID,
    CREATOR,
    ENGINE,
    GROUP,
    HEIGHT,
    IMAGE,
    LABEL,
    LABEL_NAME,
    LICENCE,
    LICENCE_URL,
    NOTES,
    OFFICIAL_PART,
    ORIGINAL_BYTES,
    ORIGINAL_FORMAT,
    ORIGINAL_HEIGHT,
    ORIGINAL_WIDTH,
    PAGE_URL,
    QUERY,
    RANK,
    ROMANISED,
    SAMPLE_ID,
    SOURCE_URL,
    TRIAL,
    WIDTH,
)
from pipeline.dataset.paths import missing_file, samples_path
from pipeline.dataset.tables import damaged

COLUMNS: dict[str, pa.DataType] = {
    # what it is
    SAMPLE_ID: pa.string(),  # unique in the dataset: dance/sha256[:16], or the archive member
    CONTENT_ID: pa.string(),  # sha256 of the picture itself; equal for the same picture
    IMAGE: pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    LABEL: pa.string(),  # the class key: "kathak", "042"
    LABEL_NAME: pa.string(),  # for people: "Kathak", "கா"
    ROMANISED: pa.string(),  # ISO 15919 where the label is a letter
    # who made it, and where its publisher put it
    GROUP: pa.string(),  # provenance: the writer; null where unknown
    TRIAL: pa.int32(),  # which attempt of the writer
    OFFICIAL_PART: pa.string(),  # "train" or "test" where the publisher has split it
    # the stored picture and the one it came from (pixels)
    WIDTH: pa.int32(),
    HEIGHT: pa.int32(),
    ORIGINAL_WIDTH: pa.int32(),
    ORIGINAL_HEIGHT: pa.int32(),
    ORIGINAL_BYTES: pa.int64(),
    ORIGINAL_FORMAT: pa.string(),  # "JPEG", "TIFF", "UNIPEN"
    NOTES: pa.string(),  # what was done to it: "first of 12 frames; reduced"
    # where it was found
    SOURCE_URL: pa.string(),
    PAGE_URL: pa.string(),
    ENGINE: pa.string(),
    QUERY: pa.string(),
    RANK: pa.int32(),
    LICENCE: pa.string(),
    LICENCE_URL: pa.string(),
    CREATOR: pa.string(),
    ATTRIBUTION: pa.string(),
}
_HUGGING_FACE_TYPES = {pa.string(): "string", pa.int32(): "int32", pa.int64(): "int64"}
_FEATURES = {
    name: {"_type": "Image"}
    if name == IMAGE
    else {"dtype": _HUGGING_FACE_TYPES[kind], "_type": "Value"}
    for name, kind in COLUMNS.items()
}
SCHEMA = pa.schema(
    list(COLUMNS.items()),
    metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},
)
REQUIRED = (SAMPLE_ID, CONTENT_ID, IMAGE, LABEL, LABEL_NAME, WIDTH, HEIGHT)
ROW_GROUP = 2_000  # rows held in memory while writing; 2,000 photos of 100 KB are 200 MB


def existing_samples(dataset: str) -> Path:
    """Return the path of a dataset's samples; raise PipelineError if the file is missing."""
    path = samples_path(dataset)
    if not path.exists():
        raise missing_file(path)
    return path


class SampleWriter:
    """Streams rows into a Parquet file, a row group at a time.

    Columns that a row does not name are null; a name outside `COLUMNS` is a KeyError.
    """

    def __init__(
        self, path: Path, row_group: int = ROW_GROUP, about: Mapping[str, str] | None = None
    ) -> None:
        self.count = 0
        self._row_group = row_group
        self._columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        self._buffered = 0
        self._writer = pq.ParquetWriter(
            path, SCHEMA.with_metadata({**SCHEMA.metadata, **(about or {})}), compression="zstd"
        )

    def add(self, row: Mapping[str, Any]) -> None:
        """Add one sample."""
        self.add_columns({name: [value] for name, value in row.items()})

    def add_columns(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Add many samples: equally long sequences by column name."""
        unknown = columns.keys() - COLUMNS.keys()
        if unknown:
            raise KeyError(f"no such sample column: {sorted(unknown)}")
        count = len(columns[SAMPLE_ID])
        for name, buffer in self._columns.items():
            values = columns.get(name)
            buffer.extend([None] * count if values is None else values)
        self._buffered += count
        self.count += count
        while self._buffered >= self._row_group:
            self._flush()

    def _flush(self) -> None:
        """Write one row group: the file's bytes depend on its rows, not on how they came in."""
        count = min(self._buffered, self._row_group)
        if count:
            columns = {name: buffer[:count] for name, buffer in self._columns.items()}
            table = pa.Table.from_pydict(columns, schema=SCHEMA)
            for name in REQUIRED:
                if table[name].null_count:
                    raise ValueError(f"a sample has no {name}")
            self._writer.write_table(table)
        for buffer in self._columns.values():
            del buffer[:count]
        self._buffered -= count

    def close(self, *, flush: bool = True) -> None:
        """Write what is buffered and the footer."""
        if flush:
            self._flush()
        self._writer.close()


@contextmanager
def writing_samples(
    path: Path, row_group: int = ROW_GROUP, about: Mapping[str, str] | None = None
) -> Iterator[SampleWriter]:
    """Give a writer; the file appears at `path` when the block ends well, else not at all.

    `about` is added to the file's metadata.
    """
    with replacing(path) as temporary:
        writer = SampleWriter(temporary, row_group, about)
        try:
            yield writer
        except BaseException:
            writer.close(flush=False)
            raise
        writer.close()


def read_samples(
    dataset: str, columns: Sequence[str] | None = None, *, images: bool = True
) -> pa.Table:
    """Read a dataset's samples, all columns or the named ones, with or without the pictures.

    Raises PipelineError when the file is missing, damaged or of an older schema.
    """
    path = existing_samples(dataset)
    wanted = list(columns) if columns is not None else list(COLUMNS)
    if not images:
        wanted = [name for name in wanted if name != IMAGE]
    try:
        return pq.read_table(path, columns=wanted)
    except (pa.ArrowException, KeyError) as error:
        raise damaged(path, error) from error
