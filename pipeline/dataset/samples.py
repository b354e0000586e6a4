"""samples.parquet: one row for each sample, in one schema for all sources of images.

The `image` column (`{bytes, path}`) and the metadata have the form that Hugging Face `datasets`
opens as an image dataset. pandas, DuckDB and Polars read the file, too.
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
    # identity and label
    SAMPLE_ID: pa.string(),  # unique in the dataset: dance/sha256[:16], or the archive member
    CONTENT_ID: pa.string(),  # sha256 of the original file or bitmap; equal for equal images
    IMAGE: pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    LABEL: pa.string(),  # the key of the class: "kathak", "042"
    LABEL_NAME: pa.string(),  # the name to show: "Kathak", "கா"
    ROMANISED: pa.string(),  # ISO 15919, if the label is a letter
    # groups, and the publisher's split
    GROUP: pa.string(),  # the writer, for example; null if unknown
    TRIAL: pa.int32(),  # number of the writer's attempt at this label
    OFFICIAL_PART: pa.string(),  # "train" or "test", if the publisher has split the dataset
    # the stored image and the original, in pixels and bytes
    WIDTH: pa.int32(),
    HEIGHT: pa.int32(),
    ORIGINAL_WIDTH: pa.int32(),
    ORIGINAL_HEIGHT: pa.int32(),
    ORIGINAL_BYTES: pa.int64(),
    ORIGINAL_FORMAT: pa.string(),  # "JPEG", "TIFF", "UNIPEN"
    NOTES: pa.string(),  # changes to the original: "first of 12 frames; reduced"
    # source and licence
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
    """Return the path of a dataset's samples. Raises PipelineError if the file is missing."""
    path = samples_path(dataset)
    if not path.exists():
        raise missing_file(path)
    return path


class SampleWriter:
    """Streams samples into a Parquet file, in row groups of `row_group` samples.

    A column that a sample does not name is null. Raises KeyError for a column outside COLUMNS, and
    ValueError if a sample lacks one of REQUIRED.
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
        """Add one sample: values by column name."""
        self.add_columns({name: [value] for name, value in row.items()})

    def add_columns(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Add several samples: sequences of equal length by column name."""
        unknown = columns.keys() - COLUMNS.keys()
        if unknown:
            raise KeyError(f"unknown columns of samples: {sorted(unknown)}")
        count = len(columns[SAMPLE_ID])
        for name, buffer in self._columns.items():
            values = columns.get(name)
            buffer.extend([None] * count if values is None else values)
        self._buffered += count
        self.count += count
        while self._buffered >= self._row_group:
            self._flush()

    def _flush(self) -> None:
        """Write one row group. The file's bytes depend on the rows, not on how they were added."""
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
        """Write the buffered rows, if `flush`, and the footer."""
        if flush:
            self._flush()
        self._writer.close()


@contextmanager
def writing_samples(
    path: Path, row_group: int = ROW_GROUP, about: Mapping[str, str] | None = None
) -> Iterator[SampleWriter]:
    """Yield a writer. The file appears at `path` when the block ends, unless the block raises.

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
    """Return a dataset's samples as a table, all columns or the named ones.

    Without `images`, the image column is left out. Raises PipelineError if the file is missing,
    damaged or lacks a column.
    """
    path = existing_samples(dataset)
    wanted = list(columns) if columns is not None else list(COLUMNS)
    if not images:
        wanted = [name for name in wanted if name != IMAGE]
    try:
        return pq.read_table(path, columns=wanted)
    except (pa.ArrowException, KeyError) as error:
        raise damaged(path, error) from error
