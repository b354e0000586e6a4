"""Archives of handwriting for tests."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(50)

Member = tuple[str, bytes]


def write_archive(path: Path, members: Iterable[Member]) -> Path:
    """Write a .tar.gz of (name, bytes)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wb", 1) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path
