"""Read untrusted .tar.gz archives as a stream, without unpacking them to the disk.

`tarfile` parses the headers. This module adds the checks that it lacks: limits on the sizes of
members, headers and the archive; no seeking backwards; and an error where `tarfile`
mistakes damage for the end of the archive.
"""

from __future__ import annotations

import gzip
import re
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

from pipeline.core.errors import PipelineError, Rejected

MAX_MEMBER_BYTES = 10_000_000  # a pen file has a few thousand bytes, a scanned page a million
MAX_TOTAL_BYTES = 8_000_000_000  # decompressed; the largest known handwriting archives have 1 GB
MAX_MEMBERS = 2_000_000
MAX_HEADER_BYTES = 65_536  # tarfile itself reads a name of any length into memory
MAX_NAME = 1_024  # characters
CHUNK = 1 << 20

_TYPES = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}
_UNSAFE_NAME = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]|^/|^[A-Za-z]:|(^|/)\.\.(/|$)")
_REDUNDANT = re.compile(r"/(?:\.?/)+|^(?:\./)+")  # "./a//b/./c" is a/b/c


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: its path, separated by `/`, and its bytes.

    If `rejected` is set, `data` is empty. `read_bytes` is the position in the archive's file, in
    bytes, for a progress bar.
    """

    name: str
    data: bytes
    rejected: Rejected | None
    read_bytes: int


def members(
    path: Path,
    *,
    max_member_bytes: int = MAX_MEMBER_BYTES,
    max_total_bytes: int = MAX_TOTAL_BYTES,
    max_members: int = MAX_MEMBERS,
) -> Iterator[Member]:
    """Yield the files of a .tar.gz in the archive's order, without its folders.

    `rejected` is "hostile-member" if a member is a link, a device or a sparse file, or if its name
    is absolute, contains `..` or contains control characters. It is "too-large" if the member is
    larger than `max_member_bytes`.

    Raises PipelineError if the archive is not gzip, is damaged or truncated, or exceeds a limit.
    In that case the members already yielded are only part of the archive.
    """
    with _decompressed(path) as (raw, file):
        stream = _Stream(file, max_total_bytes)
        seen = 0
        try:
            with _tar(stream) as tar:
                for info in tar:
                    tar.members.clear()  # tarfile keeps every header, 500 bytes each
                    seen += 1
                    if seen > max_members:
                        raise _UnsoundError(f"more than {max_members} members")
                    if not info.isdir():
                        yield _member(info, stream, max_member_bytes, raw.tell())
            stream.drain()
        except (*_DAMAGE, RecursionError, ValueError, ArithmeticError, LookupError) as error:
            what = str(error) or type(error).__name__
            raise PipelineError(
                f"{path}: archive is damaged or unsafe after {seen} members: {what}"
            ) from error


def _member(info: tarfile.TarInfo, stream: _Stream, max_bytes: int, read_bytes: int) -> Member:
    name = _REDUNDANT.sub(lambda match: "/" if match[0][0] == "/" else "", info.name)
    rejected = _rejection(info, name, max_bytes)
    if rejected is None:
        data = stream.take(info.size)
        if len(data) == info.size:
            return Member(name, data, None, read_bytes)
        raise _UnsoundError(f"truncated within {name}")
    return Member(printable(name), b"", rejected, read_bytes)


def _rejection(info: tarfile.TarInfo, name: str, max_bytes: int) -> Rejected | None:
    """Return the reason to reject a member, from its header alone."""
    if not info.isreg() or info.issparse():
        kind = "a sparse file" if info.issparse() else _TYPES.get(info.type)
        return Rejected("hostile-member", kind or f"of type {info.type!r}")
    if not name or len(name) > MAX_NAME or _UNSAFE_NAME.search(name):
        return Rejected("hostile-member", f"the name {printable(info.name)!r}")
    if info.size > max_bytes:
        return Rejected("too-large", f"{info.size} bytes, at most {max_bytes}")
    return None


def printable(name: str) -> str:
    """Return an untrusted name on one line of valid UTF-8, with at most 200 characters."""
    shown = "".join(c if c.isprintable() and not "\ud800" <= c <= "\udfff" else "?" for c in name)
    return shown if len(shown) <= 200 else shown[:197] + "..."


def check_gzip(path: Path, max_total_bytes: int = MAX_TOTAL_BYTES) -> None:
    """Decompress a whole file and discard the result.

    Raises PipelineError if it is not gzip, is damaged or truncated, or is larger than
    `max_total_bytes` when decompressed.
    """
    with _decompressed(path) as (_, file):
        try:
            _Stream(file, max_total_bytes).drain()
        except _DAMAGE as error:
            raise PipelineError(f"{path}: archive is damaged or too large: {error}") from error


class _UnsoundError(Exception):
    """The archive as a whole is damaged or unsafe. Not a TarError: tarfile would catch that."""


_DAMAGE = (_UnsoundError, tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile)


class _StrictInfo(tarfile.TarInfo):
    """Raise an error for a damaged header, which tarfile mistakes for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if not any(buf):
                raise  # only zeros, or nothing: the regular end of an archive
            raise _UnsoundError(f"damaged header: {error}") from error


class _Stream:
    """The decompressed archive, read forwards only and up to `max_bytes`."""

    def __init__(self, file: gzip.GzipFile, max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._position = 0

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        """Read a header for tarfile."""
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise _UnsoundError(f"header of {size} bytes; at most {MAX_HEADER_BYTES} are allowed")
        return self.take(size)

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes, or fewer at the end."""
        if size < 0:  # for read(), this would mean all bytes
            raise _UnsoundError("a member of negative size")
        data = self._file.read(size)
        self._position += len(data)
        if self._position > self._max_bytes:
            raise _UnsoundError(f"more than {self._max_bytes} bytes when decompressed")
        return data

    def seek(self, position: int) -> None:
        """Skip the bytes before `position`."""
        if position < self._position:
            raise _UnsoundError("a member of negative size")
        while (left := position - self._position) > 0:
            if not self.take(min(left, CHUNK)):
                raise _UnsoundError("truncated within a member")

    def drain(self) -> None:
        """Read to the end, where gzip verifies its checksum."""
        while self.take(CHUNK):
            pass


def _tar(stream: _Stream) -> Any:
    return tarfile.TarFile(fileobj=cast(BinaryIO, stream), tarinfo=_StrictInfo, encoding="utf-8")


@contextmanager
def _decompressed(path: Path) -> Iterator[tuple[BinaryIO, gzip.GzipFile]]:
    with path.open("rb") as raw:
        start = raw.read(24)
        if start[:2] != b"\x1f\x8b":
            shown = printable(start.decode("ascii", "replace"))
            raise PipelineError(
                f"{path}: not a gzip archive; it begins with {shown!r}, expected the bytes 1f 8b"
            )
        raw.seek(0)
        with gzip.GzipFile(fileobj=raw, mode="rb") as file:
            yield raw, file
