"""Tables as Parquet shards under one URL, `<url>/part-000000.parquet` and on.

A URL is whatever fsspec reaches (`s3://bucket/kalai`, `file:///mnt/kalai`, `memory://kalai`) or a
local path. A shard appears whole or not at all, and writing one twice leaves one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import PipelineError
from pipeline.core.files import replacing, sha256_of

_PART = re.compile(r"part-(\d{6,})\.parquet")
_WHOLE = "SHA256"  # beside the shards of a file: its sha256, written last


def shard_at(url: str, number: int) -> str:
    """Return the URL of a shard."""
    return f"{url}/part-{number:06}.parquet"


def shards_in(url: str) -> list[str]:
    """Return the URLs of the shards under a URL in their order; none where there is nothing."""
    with _store(url) as (system, folder):
        system.invalidate_cache()  # object stores remember listings, and workers write elsewhere
        try:
            names = [path.rpartition("/")[2] for path in system.ls(folder, detail=False)]
        except FileNotFoundError:
            return []
    found = filter(None, map(_PART.fullmatch, names))
    return [shard_at(url, number) for number in sorted(int(match[1]) for match in found)]


def next_shard(there: Sequence[str]) -> int:
    """Return the number after all of `shards`; there may be gaps."""
    return int(there[-1].rpartition("-")[2].partition(".")[0]) + 1 if there else 0


def write_shard(shard: str, table: pa.Table) -> None:
    """Write a shard, in place of what stood there."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    _put(shard, sink.getvalue().to_pybytes())


@contextmanager
def open_parquet(file: str) -> Iterator[pq.ParquetFile]:
    """Give a shard, or any Parquet file, to read parts of. Raises PipelineError when it is none."""
    with _store(file) as (system, path):
        stream = system.open(path, "rb")
    with stream:
        try:
            source = pq.ParquetFile(stream)
        except pa.ArrowException as error:
            raise PipelineError(f"{file}: not a Parquet file: {error}") from error
        yield source


def read_shard(shard: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the rows of a shard, all columns or the named ones."""
    with open_parquet(shard) as file:
        return file.read(columns)


def take_shard(shard: str) -> pa.Table:
    """Return the rows of a shard and remove it."""
    table = read_shard(shard)
    _remove(shard)
    return table


def clear(url: str) -> None:
    """Remove the shards under a URL, and what says that they are whole before any of them."""
    with _store(f"{url}/{_WHOLE}") as (system, path):
        if system.exists(path):
            system.rm_file(path)
    for shard in shards_in(url):
        _remove(shard)


def publish(file: Path, url: str) -> None:
    """Have the shards under a URL hold a local Parquet file's rows, a shard a row group.

    Does nothing where they do already; a set that was left half written is written again.
    """
    digest = sha256_of(file).encode()
    with _store(f"{url}/{_WHOLE}") as (system, path):
        if system.exists(path) and system.cat_file(path) == digest:
            return
    clear(url)
    with pq.ParquetFile(file) as source:
        for number in range(source.num_row_groups):
            write_shard(shard_at(url, number), source.read_row_group(number))
    _put(f"{url}/{_WHOLE}", digest)


def check(url: str) -> None:
    """Write and remove a small object. Raises PipelineError with what a store says against it."""
    try:
        _put(f"{url}/.kalai", b"")
        _remove(f"{url}/.kalai")
    except OSError as error:
        raise PipelineError(f"compute.storage: {url}: {error}") from error


def _put(url: str, data: bytes) -> None:
    """Write an object whole or not at all, as stores do and a disk does by renaming."""
    with _store(url) as (system, path):
        from fsspec.implementations.local import LocalFileSystem

        if isinstance(system, LocalFileSystem):
            with replacing(Path(path)) as temporary:
                temporary.write_bytes(data)
        else:
            system.pipe_file(path, data)


def _remove(url: str) -> None:
    with _store(url) as (system, path):
        system.rm_file(path)


@contextmanager
def _store(url: str) -> Iterator[tuple[Any, str]]:
    """Give the file system of a URL and the path in it.

    Raises PipelineError where there is none, and of whatever else than an OSError it raises.
    """
    try:
        from fsspec.core import url_to_fs

        found: tuple[Any, str] = url_to_fs(url)
    except ImportError as error:
        raise PipelineError(f"{url}: {error}; pip install 'kalai[scale]'") from error
    except ValueError as error:
        raise PipelineError(f"{url}: {error}") from error
    try:
        yield found
    except (OSError, PipelineError):
        raise
    except Exception as error:  # every store has its own kinds
        raise PipelineError(f"{url}: {type(error).__name__}: {error}") from error
