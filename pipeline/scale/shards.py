"""Read and write tables as Parquet shards: `<url>/part-000000.parquet`, `part-000001`, and so on.

A URL is a local path, or a URL that fsspec supports (`s3://bucket/kalai`, `file:///mnt/kalai`,
`memory://kalai`). A shard is written atomically, and writing it again replaces it. If the file
system fails, OSError is raised; an error of another type becomes PipelineError.
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
_COMPLETE = "SHA256"  # object beside published shards: the sha256 of their source; written last


def shard_at(url: str, number: int) -> str:
    """Return the URL of a shard."""
    return f"{url}/part-{number:06}.parquet"


def shards_in(url: str) -> list[str]:
    """Return the URLs of the shards under a URL, in order; an empty list if there are none."""
    with _store(url) as (system, folder):
        system.invalidate_cache()  # fsspec caches listings, but other processes write shards
        try:
            names = [path.rpartition("/")[2] for path in system.ls(folder, detail=False)]
        except FileNotFoundError:
            return []
    found = filter(None, map(_PART.fullmatch, names))
    return [shard_at(url, number) for number in sorted(int(match[1]) for match in found)]


def next_shard(there: Sequence[str]) -> int:
    """Return the number after the last of these shards; numbers may have gaps."""
    return int(there[-1].rpartition("-")[2].partition(".")[0]) + 1 if there else 0


def write_shard(shard: str, table: pa.Table) -> None:
    """Write a shard, or replace it."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    _put(shard, sink.getvalue().to_pybytes())


@contextmanager
def open_parquet(file: str) -> Iterator[pq.ParquetFile]:
    """Yield a shard, or another Parquet file, opened so that parts of it can be read.

    Raises PipelineError if it is not Parquet.
    """
    with _store(file) as (system, path):
        stream = system.open(path, "rb")
    with stream:
        try:
            source = pq.ParquetFile(stream)
        except pa.ArrowException as error:
            raise PipelineError(f"{file}: not a Parquet file: {error}; remove it") from error
        yield source


def read_shard(shard: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Return a shard as a table, all columns or the named ones."""
    with open_parquet(shard) as file:
        return file.read(columns)


def take_shard(shard: str) -> pa.Table:
    """Return a shard as a table, and remove the shard."""
    table = read_shard(shard)
    _remove(shard)
    return table


def clear(url: str) -> None:
    """Remove the shards under a URL; first, the file that marks them as complete."""
    with _store(f"{url}/{_COMPLETE}") as (system, path):
        if system.exists(path):
            system.rm_file(path)
    for shard in shards_in(url):
        _remove(shard)


def publish(file: Path, url: str) -> None:
    """Write a local Parquet file as shards under a URL, one for each row group.

    Does nothing if the complete shards of the same file are already there. Incomplete shards are
    written again.
    """
    digest = sha256_of(file).encode()
    with _store(f"{url}/{_COMPLETE}") as (system, path):
        if system.exists(path) and system.cat_file(path) == digest:
            return
    clear(url)
    with pq.ParquetFile(file) as source:
        for number in range(source.num_row_groups):
            write_shard(shard_at(url, number), source.read_row_group(number))
    _put(f"{url}/{_COMPLETE}", digest)


def check(url: str) -> None:
    """Write and remove a small object. Raises PipelineError if the store refuses that."""
    try:
        _put(f"{url}/.kalai", b"")
        _remove(f"{url}/.kalai")
    except OSError as error:
        raise PipelineError(f"params.yaml: compute.storage: {url}: {error}") from error


def _put(url: str, data: bytes) -> None:
    """Write an object atomically: object stores do this themselves, a local disk needs a rename."""
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
    """Yield the fsspec file system of a URL, and the path in it.

    Raises PipelineError if no file system supports the URL. An error in the block that is not an
    OSError also becomes a PipelineError.
    """
    try:
        from fsspec.core import url_to_fs

        found: tuple[Any, str] = url_to_fs(url)
    except ImportError as error:
        raise PipelineError(f"{url}: {error}; run: pip install 'kalai[scale]'") from error
    except ValueError as error:
        raise PipelineError(f"{url}: {error}") from error
    try:
        yield found
    except (OSError, PipelineError):
        raise
    except Exception as error:  # each store has its own exception types
        raise PipelineError(f"{url}: {type(error).__name__}: {error}") from error
