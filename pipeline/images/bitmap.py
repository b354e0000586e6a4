"""Bi-level images: packed bits in memory, and their encoding as PNG and TIFF."""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(slots=True, eq=False)
class Bitmap:
    """A bi-level image as (height, ceil(width / 8)) bytes; the highest bit is the leftmost pixel.

    White is 1 and ink is 0. The last byte of a row is padded with white.
    """

    width: int
    rows: npt.NDArray[np.uint8]

    @property
    def height(self) -> int:
        """The number of rows of pixels."""
        return len(self.rows)

    @classmethod
    def of(cls, is_white: npt.NDArray[np.bool_]) -> Bitmap:
        """Return a bitmap made from (height, width) booleans."""
        rows = np.packbits(is_white, axis=1)
        if is_white.shape[1] % 8:
            rows[:, -1] |= 255 >> is_white.shape[1] % 8
        return cls(is_white.shape[1], rows)

    @property
    def is_white(self) -> npt.NDArray[np.bool_]:
        """The pixels as (height, width) booleans."""
        return np.unpackbits(self.rows, axis=1)[:, : self.width].astype(np.bool_)

    @property
    def has_ink(self) -> bool:
        """True if any pixel is ink."""
        return bool((self.rows != 255).any())

    @property
    def content_id(self) -> str:
        """The sha256 of the size and the pixels; it does not depend on a file's encoding."""
        size = f"{self.width}x{self.height}\n".encode()
        return hashlib.sha256(size + self.rows.tobytes()).hexdigest()

    @property
    def png(self) -> bytes:
        """A bi-level PNG whose data is stored without compression (RFC 2083, RFC 1950).

        Every PNG reader opens it. Parquet compresses a whole column with zstd, which finds what
        letters have in common. The column takes a third of the space of PNGs that are compressed
        one by one. Encoding takes little time.
        """
        scanlines = np.zeros((self.height, self.rows.shape[1] + 1), np.uint8)  # filter 0, then bits
        scanlines[:, 1:] = self.rows
        header = struct.pack(">IIBBBBB", self.width, self.height, 1, 0, 0, 0, 0)
        data = zlib.compress(scanlines.tobytes(), 0)
        chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*each) for each in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return b"".join(
        (struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(kind + data)))
    )


def encode_tiff(bitmap: Bitmap) -> bytes:
    """Return a TIFF in the exact form of HP's archives: big-endian, one raw strip, BlackIsZero."""
    resolutions, strip = 146, 162  # offsets in the file, after the directory
    entries = [
        (256, _SHORT, bitmap.width),
        (257, _SHORT, bitmap.height),
        (259, _SHORT, 1),  # no compression
        (262, _SHORT, 1),  # BlackIsZero
        (273, _LONG, strip),
        (277, _SHORT, 1),  # samples per pixel
        (278, _SHORT, bitmap.height),  # rows per strip
        (279, _LONG, bitmap.rows.size),
        (282, _FRACTION, resolutions),
        (283, _FRACTION, resolutions + 8),
        (296, _SHORT, 1),  # resolution without a unit
    ]
    directory = b"".join(
        struct.pack(">HHII", tag, kind, 1, value << 16 if kind == _SHORT else value)
        for tag, kind, value in entries
    )
    start = struct.pack(">2sHIH", b"MM", 42, 8, len(entries)) + directory
    data = np.packbits(bitmap.is_white, axis=1).tobytes()  # HP padded rows with ink
    return start + struct.pack(">5I", 0, 1, 1, 1, 1) + data


_SHORT, _LONG, _FRACTION = 3, 4, 5  # TIFF's types
