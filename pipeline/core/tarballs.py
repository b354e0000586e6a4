"""Archives from outside, read as a stream: nothing is unpacked, nothing is believed.

`tarfile` parses the headers. Around it stand the bounds that it lacks: no member, header or
archive larger than told, no way back in the stream, and no damage that passes for the end.
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

MAX_MEMBER_BYTES = 10_000_000  # a pen file has a few thousand, a scanned page a million
MAX_TOTAL_BYTES = 8_000_000_000  # decompressed; the largest handwriting archives have 1 GB
MAX_MEMBERS = 2_000_000
MAX_HEADER_BYTES = 65_536  # tarfile would hold a long name of any length in memory
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
_INSANE = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]|^/|^[A-Za-z]:|(^|/)\.\.(/|$)")
_REDUNDANT = re.compile(r"/(?:\.?/)+|^(?:\./)+")  # "./a//b/./c" names a/b/c


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive: its path with `/` in it, its bytes, or why they are not given.

    `read_bytes` is how far the archive's own file has been read, for a progress bar.
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
    """Walk the files of a .tar.gz in its order; folders are passed over.

    A member that is a link, a device or sparse, or whose name is absolute, climbs (`..`) or holds
    control characters comes with `rejected` "hostile-member", one above `max_member_bytes` with
    "too-large". Raises PipelineError when the archive itself is no gzip, damaged, cut, or above
    its bounds: what was already given is then not the whole.
    """
    with _decompressed(path) as (raw, file):
        stream = _Stream(file, max_total_bytes)
        seen = 0
        try:
            with _tar(stream) as tar:
                for info in tar:
                    tar.members.clear()  # tarfile would remember a million of them
                    seen += 1
                    if seen > max_members:
                        raise _UnsoundError(f"more than {max_members} members")
                    if not info.isdir():
                        yield _member(info, stream, max_member_bytes, raw.tell())
            stream.drain()
        except (*_DAMAGE, RecursionError, ValueError, ArithmeticError, LookupError) as error:
            what = str(error) or type(error).__name__
            raise PipelineError(f"{path}: after {seen} members: {what}") from error


def _member(info: tarfile.TarInfo, stream: _Stream, max_bytes: int, read_bytes: int) -> Member:
    name = _REDUNDANT.sub(lambda match: "/" if match[0][0] == "/" else "", info.name)
    rejected = _judge(info, name, max_bytes)
    if rejected is None:
        data = stream.take(info.size)
        if len(data) == info.size:
            return Member(name, data, None, read_bytes)
        raise _UnsoundError(f"cut within {name}")
    return Member(printable(name), b"", rejected, read_bytes)


def _judge(info: tarfile.TarInfo, name: str, max_bytes: int) -> Rejected | None:
    if not info.isreg() or info.issparse():
        kind = "a sparse file" if info.issparse() else _TYPES.get(info.type)
        return Rejected("hostile-member", kind or f"of type {info.type!r}")
    if not name or len(name) > MAX_NAME or _INSANE.search(name):
        return Rejected("hostile-member", f"the name {printable(info.name)!r}")
    if info.size > max_bytes:
        return Rejected("too-large", f"{info.size} bytes, at most {max_bytes}")
    return None


def printable(name: str) -> str:
    """Return a name from outside as something that can be shown: short, on one line, in UTF-8."""
    shown = "".join(c if c.isprintable() and not "\ud800" <= c <= "\udfff" else "?" for c in name)
    return shown if len(shown) <= 200 else shown[:197] + "..."


def check_gzip(path: Path, max_total_bytes: int = MAX_TOTAL_BYTES) -> None:
    """Decompress a file to its end, keeping nothing. Raises PipelineError when it is no gzip."""
    with _decompressed(path) as (_, file):
        try:
            _Stream(file, max_total_bytes).drain()
        except _DAMAGE as error:
            raise PipelineError(f"{path}: {error}") from error


class _UnsoundError(Exception):
    """The archive as a whole cannot be trusted. Not a TarError, which tarfile would swallow."""


_DAMAGE = (_UnsoundError, tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile)


class _StrictInfo(tarfile.TarInfo):
    """A header that is damaged is an error; tarfile takes it for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if not any(buf):
                raise  # zeros, or nothing at all: that is the end
            raise _UnsoundError(f"damaged header: {error}") from error


class _Stream:
    """The decompressed archive: forwards only and never beyond `max_bytes`."""

    def __init__(self, file: gzip.GzipFile, max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._position = 0

    def tell(self) -> int:
        return self._position

    def read(self, size: int) -> bytes:
        """Read a header for tarfile."""
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise _UnsoundError(f"a header of {size} bytes")
        return self.take(size)

    def take(self, size: int) -> bytes:
        """Read up to `size` bytes, fewer at the end."""
        if size < 0:  # which would mean all
            raise _UnsoundError("a member that ends before it begins")
        data = self._file.read(size)
        self._position += len(data)
        if self._position > self._max_bytes:
            raise _UnsoundError(f"more than {self._max_bytes} bytes when decompressed")
        return data

    def seek(self, position: int) -> None:
        """Pass over what lies before `position`."""
        if position < self._position:
            raise _UnsoundError("a member that ends before it begins")
        while (left := position - self._position) > 0:
            if not self.take(min(left, CHUNK)):
                raise _UnsoundError("cut within a member")

    def drain(self) -> None:
        """Read to the end, where gzip checks its sum."""
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
            raise PipelineError(f"{path}: not a gzip archive, begins with {shown!r}")
        raw.seek(0)
        with gzip.GzipFile(fileobj=raw, mode="rb") as file:
            yield raw, file
