"""Archives of handwriting for tests: good members, bad members, and tar headers made by hand."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.images.bitmap import Bitmap, encode_tiff
from tests.pens import pen_file

APPLE_DOUBLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(50)
BLOCK = 512  # bytes of a tar block

Member = tuple[str, bytes]


def sha256(data: bytes) -> str:
    """Return the sha256 of bytes in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def write_archive(path: Path, members: Iterable[Member]) -> Path:
    """Write a .tar.gz of (name, bytes)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wb", 1) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def header(name: str, size: int = 0, kind: bytes = b"0", prefix: bytes = b"") -> bytes:
    """Return a ustar header; it may hold values that tarfile refuses to write."""
    field = b"\x80" + size.to_bytes(11, "big", signed=True) if size < 0 else b"%011o\0" % size
    body = bytearray(BLOCK)
    body[0:100] = name.encode("utf-8", "surrogateescape")[:100].ljust(100, b"\0")
    body[100:124] = b"0000644\0" + b"0000000\0" * 2
    body[124:136] = field if size >= 0 else b"\xff" + field[1:]
    body[136:148] = b"00000000000\0"
    body[156:157] = kind
    body[257:265] = b"ustar\x0000"
    body[345 : 345 + len(prefix)] = prefix
    body[148:156] = b" " * 8
    body[148:156] = b"%06o\0 " % sum(body)
    return bytes(body)


def entry(name: str, data: bytes = b"ink", kind: bytes = b"0") -> bytes:
    """Return a header and its data, padded to whole blocks."""
    return header(name, len(data), kind) + data.ljust(-(-len(data) // BLOCK) * BLOCK, b"\0")


# by the name that a reader shows: members that no reader may accept
HOSTILE = {
    "../up": entry("../up"),
    "a/../../up": entry("a/../../up"),
    "..": entry(".."),
    "/etc/passwd": entry("/etc/passwd"),
    "C:/windows": entry("C:/windows"),
    "a\\..\\b": entry("a\\..\\b"),
    "line?break": entry("line\nbreak"),
    "esc?[31m": entry("esc\x1b[31m"),
    "bad?utf": entry("bad\udcffutf"),
    "": entry(""),
    "hard": header("hard", kind=b"1"),
    "soft": header("soft", kind=b"2"),
    "char": header("char", kind=b"3"),
    "block": header("block", kind=b"4"),
    "pipe": header("pipe", kind=b"6"),
    "odd": entry("odd", kind=b"Q"),
}


def pen(seed: int) -> bytes:
    """Return a pen file with a random stroke; each seed draws another image."""
    chance = random.Random(seed)
    return pen_file(
        ", ".join(f"{chance.randrange(900)} {chance.randrange(900)} 0" for _ in range(9))
    )


def tiff(seed: int) -> bytes:
    """Return a TIFF of random pixels in HP's layout."""
    return encode_tiff(Bitmap.of(np.random.default_rng(seed).random((21, 30)) < 0.8))


def _converted(data: bytes, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).save(buffer, kind)
    return buffer.getvalue()


# archives of 8, 12 and 4 members: all good, each WRONG one with a reason to reject it
TRAIN: list[Member] = [
    ("iso/usr_16/._042t01.txt", APPLE_DOUBLE),
    ("iso/usr_16/042t01.txt", pen(1)),
    ("iso/usr_16/042t02.txt", pen(2)),
    ("iso/usr_17/000t01.tiff", tiff(3)),
    ("iso/usr_17/000t02.txt", tiff(4)),  # a picture, whatever its name says
    ("iso/usr_17/000t03.tiff", pen(5)),  # and a pen file
    ("iso/usr_17/000t04.tiff", _converted(tiff(6), "PNG")),
    ("iso/README", b"about"),
]
WRONG: list[Member] = [
    ("iso/usr_18/000t01.tiff", tiff(7)[:200]),
    ("iso/usr_18/000t02.txt", pen(8).replace(b".PEN_UP", b"\x80 1 2\n.PEN_UP", 1)),
    ("iso/usr_18/000t03.txt", pen(9).partition(b".PEN_DOWN")[0]),
    ("iso/usr_18/000t04.txt", b""),
    ("iso/usr_18/000t05.txt", pen(10).replace(b"_POINTS_PER_INCH", b"_POINTS")),
    ("iso/usr_18/000t06.txt", pen_file("0 0 0, 99999999 0 0")),
    ("iso/usr_18/000t07.tiff", encode_tiff(Bitmap.of(np.ones((9, 9), np.bool_)))),
    ("iso/usr_18/999t01.txt", pen(11)),
    ("iso/usr_16/042t01.tiff", tiff(12)),
    ("../usr_18/000t08.txt", pen(13)),
    ("iso/usr_18/000t09.txt", b"not what it was\n"),
    ("iso/usr_18/000t10.tiff", b"GIF89a" + bytes(9)),
]
TEST: list[Member] = [
    ("test/00000.txt", pen(20)),
    ("test/00001.txt", pen(21)),
    ("test/labels.txt", b"00000 098\n00001 155\n"),
    ("test/00002.txt", pen(22)),
]
