"""The border: one table of samples, whatever door they came through.

`data/<dataset>/samples.parquet` holds one row a sample in the column types of `SCHEMA`. Its
`image` column (`{bytes, path}`) and metadata are the form that Hugging Face `datasets`, pandas,
DuckDB and Polars open as an image data set.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import PipelineError
from pipeline.files import replacing, write_csv

DATA = Path("data")  # relative to the project's root, where DVC runs every stage
REPORTS = "reports"  # a dataset's folder of what git keeps

COLUMNS: dict[str, pa.DataType] = {
    # what it is
    "sample_id": pa.string(),  # unique in the dataset: dance/sha256[:16], or the archive member
    "content_id": pa.string(),  # sha256 of the picture itself; equal for the same picture
    "image": pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    "label": pa.string(),  # the class key: "kathak", "042"
    "label_name": pa.string(),  # for people: "Kathak", "கா"
    "romanised": pa.string(),  # ISO 15919 where the label is a letter
    # who made it, and where its publisher put it
    "group": pa.string(),  # provenance: the writer; null where unknown
    "trial": pa.int32(),  # which attempt of the writer
    "official_part": pa.string(),  # "train" or "test" where the publisher has split it
    # the stored picture and the one it came from (pixels)
    "width": pa.int32(),
    "height": pa.int32(),
    "original_width": pa.int32(),
    "original_height": pa.int32(),
    "original_bytes": pa.int64(),
    "original_format": pa.string(),  # "JPEG", "TIFF", "UNIPEN"
    "notes": pa.string(),  # what was done to it: "first of 12 frames; reduced"
    # where it was found
    "source_url": pa.string(),
    "page_url": pa.string(),
    "engine": pa.string(),
    "query": pa.string(),
    "rank": pa.int32(),
    "licence": pa.string(),
    "licence_url": pa.string(),
    "creator": pa.string(),
    "attribution": pa.string(),
}
_HUGGING_FACE_TYPES = {pa.string(): "string", pa.int32(): "int32", pa.int64(): "int64"}
_FEATURES = {
    name: {"_type": "Image"}
    if name == "image"
    else {"dtype": _HUGGING_FACE_TYPES[kind], "_type": "Value"}
    for name, kind in COLUMNS.items()
}
SCHEMA = pa.schema(
    list(COLUMNS.items()),
    metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},
)
REQUIRED = ("sample_id", "content_id", "image", "label", "label_name", "width", "height")
ROW_GROUP = 2_000  # rows held in memory while writing; 2,000 photos of 100 KB are 200 MB

REJECTED_HEADER = ("sample_id", "label", "reason", "detail", "source")


def dataset_folder(dataset: str) -> Path:
    """Return the folder of a dataset."""
    return DATA / dataset


def reports_folder(dataset: str) -> Path:
    """Return the folder of a dataset's reports, which git keeps."""
    return DATA / dataset / REPORTS


def samples_path(dataset: str) -> Path:
    """Return the path of a dataset's samples."""
    return DATA / dataset / "samples.parquet"


def existing_samples(dataset: str) -> Path:
    """Return the path of a dataset's samples; raise PipelineError where there are none."""
    path = samples_path(dataset)
    if not path.exists():
        others = sorted(each.parent.name for each in DATA.glob("*/samples.parquet"))
        there = f"; there is {', '.join(others)}" if others else ""
        raise PipelineError(f"{path}: no such file; run `dvc repro` or `dvc pull` first{there}")
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
        count = len(columns["sample_id"])
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
        wanted = [name for name in wanted if name != "image"]
    try:
        return pq.read_table(path, columns=wanted)
    except (pa.ArrowException, KeyError) as error:
        raise PipelineError(f"{path}: not a samples table: {error}") from error


def write_rejected(dataset: str, rows: Iterable[tuple[str, str, str, str, str]]) -> None:
    """Write `rejected.csv`: (sample_id, label, reason, detail, source) a row."""
    write_csv(dataset_folder(dataset) / "rejected.csv", REJECTED_HEADER, rows)
