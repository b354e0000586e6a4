"""Decoding: formats, truncation, decompression bombs, and damaged or hostile files."""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image

from pipeline.core.errors import Rejected
from pipeline.dedupe.phash import phash
from pipeline.images import decode
from pipeline.images.decode import EXTENSIONS
from pipeline.images.normalise import normalise, verify
from tests.conftest import ROOT
from tests.tables import encoded, png, shapes

# decode.py turns Pillow's warnings off once, but pytest turns them on again for each test
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")


def reason(data: bytes, **options: int) -> str:
    with pytest.raises(Rejected) as caught:
        verify(data, **options)
    assert caught.value.detail
    return caught.value.reason


KINDS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 90},
    "PNG": {},
    "WEBP": {"quality": 80},
    "GIF": {},
    "AVIF": {"quality": 80},
    "BMP": {},
    "TIFF": {"compression": "tiff_lzw"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_is_detected_by_content(kind: str) -> None:
    info = verify(encoded(shapes(), kind, **KINDS[kind]))
    assert (info.format, info.width, info.height, info.frames) == (kind, 120, 80, 1)
    assert EXTENSIONS[info.format].startswith(".")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_anywhere_is_truncated(kind: str) -> None:
    # up to 97%: the rest of a BMP or a PNG may be padding that no decoder needs
    whole = encoded(shapes(300, 200), kind, **KINDS[kind])
    for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97):
        cut = whole[: max(40, int(len(whole) * share))]
        assert reason(cut) == "truncated", share


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_truncated_jpeg_is_detected_at_an_eighth_of_its_size(options: dict[str, Any]) -> None:
    whole = encoded(shapes(333, 222), "JPEG", quality=85, **options)
    for end in range(700, len(whole), 97):
        full = Image.open(io.BytesIO(whole[:end]))
        with pytest.raises(OSError, match=r"truncated|broken"):
            full.load()
        assert reason(whole[:end]) == "truncated"
    verify(whole)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "not-an-image"),
        (b"{}", "not-an-image"),
        (os.urandom(3) + b"\0" * 5000, "not-an-image"),
        (b'<?xml version="1.0"?>\n<!-- x --><svg xmlns="http://www.w3.org/2000/svg"/>', "format"),
        (b"\0\0\0\x18ftypheic\0\0\0\0" + b"\0" * 100, "format"),
        (b"\0\0\1\0\1\0\x10\x10" + b"\0" * 100, "format"),
        (b"%PDF-1.7\n", "format"),
        (b"P6\n2 2\n255\n" + b"\0" * 12, "not-an-image"),
        (b"\xff\xd8\xff\xe0", "truncated"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
    ],
)
def test_a_file_that_is_no_image_has_a_reason(data: bytes, expected: str) -> None:
    assert reason(data) == expected


def test_a_reason_is_the_same_in_every_run() -> None:
    with pytest.raises(Rejected) as caught:
        verify(b"\x89PNG\r\n\x1a\n")
    assert "0x" not in caught.value.detail, "a memory address would change rejected.csv in each run"


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "TIFF", "BMP", "JPEG", "AVIF"])
def test_a_decompression_bomb_is_rejected_by_its_header(kind: str) -> None:
    data = bytearray(encoded(shapes(64, 64), kind))
    if kind == "PNG":
        data = bytearray(png(30_000, 30_000, (b"IDAT", zlib.compress(b"\0" * 100))))
    elif kind == "GIF":
        data[6:10] = struct.pack("<HH", 30_000, 30_000)
    elif kind == "WEBP":
        at = data.index(b"\x9d\x01\x2a") + 3
        data[at : at + 4] = struct.pack("<HH", 16_000, 16_000)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", 30_000, 30_000)
    elif kind == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", 30_000, 30_000)
    elif kind == "TIFF":
        for tag in (256, 257):
            at = data.index(struct.pack("<HH", tag, 4))
            data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, 30_000)
    else:
        at = data.index(b"ispe") + 8
        data[at : at + 8] = struct.pack(">II", 12_000, 12_000)
    started = time.monotonic()
    assert reason(bytes(data)) == "too-many-pixels"
    assert time.monotonic() - started < 1.0


def test_the_caller_sets_the_limit_of_pixels() -> None:
    data = encoded(shapes(120, 80), "PNG")
    assert verify(data, max_pixels=9600).width == 120
    assert reason(data, max_pixels=9599) == "too-many-pixels"
    assert Image.MAX_IMAGE_PIXELS is not None
    assert 2 * Image.MAX_IMAGE_PIXELS > decode.MAX_PIXELS, "Pillow itself would refuse first"


def test_a_tile_larger_than_its_image_is_rejected() -> None:
    # a TIFF of 64 x 64 pixels whose only tile claims 40,000 x 40,000
    tags = [(256, 64), (257, 64), (258, 8), (259, 1), (262, 1), (277, 1)]
    tags += [(322, 40_000), (323, 40_000), (324, 8), (325, 16)]
    body = struct.pack("<H", len(tags))
    for tag, value in tags:
        body += struct.pack("<HHII", tag, 4, 1, value)
    data = b"II*\0" + struct.pack("<I", 8 + 16) + b"\0" * 16 + body + b"\0" * 4
    assert reason(data) in ("too-many-pixels", "truncated")


def test_a_jpeg_of_600_scans_is_rejected() -> None:
    whole = encoded(shapes(), "JPEG", progressive=True)
    scan = whole.rindex(b"\xff\xda")
    assert reason(whole[:-2] + whole[scan:-2] * 600 + b"\xff\xd9") == "too-many-pixels"


def test_min_side_applies_to_the_shorter_side() -> None:
    data = encoded(shapes(120, 80), "JPEG")
    assert verify(data, min_side=80).height == 80
    assert reason(data, min_side=81) == "too-small"


def test_the_memory_of_concurrent_decoding_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "BYTES_AT_ONCE", 100_000)
    monkeypatch.setattr(decode, "_processors", threading.BoundedSemaphore(16))
    now, peak, lock = 0, 0, threading.Lock()
    real = Image.Image.load

    def counted(self: Image.Image) -> object:
        nonlocal now, peak
        with lock:
            now += 1
            peak = max(peak, now)
        time.sleep(0.002)
        try:
            return real(self)
        finally:
            with lock:
                now -= 1

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", counted)
    data = encoded(shapes(100, 100), "BMP")
    with ThreadPoolExecutor(16) as pool:
        assert {info.width for info in pool.map(verify, [data] * 60)} == {100}
        # an image above the whole budget waits until it is alone
        assert pool.submit(verify, encoded(shapes(300, 300), "BMP")).result().width == 300
    assert peak <= 2


HOSTILE = """
import zlib
from concurrent.futures import ThreadPoolExecutor
from PIL import Image
from pipeline.core.errors import Rejected
from pipeline.dedupe.phash import phash
from pipeline.images.normalise import normalise, verify
from tests.tables import encoded, png, shapes

exif = Image.Exif()
exif[0x0112], exif[0x010F] = 6, "x" * 50
jpeg = encoded(shapes(), "JPEG", exif=exif)
at = jpeg.index(b"Exif\\0\\0") + 6
items = [
    png(12_000, 10_000, (b"IDAT", b"")),
    png(30_000, 30_000, (b"IDAT", b"")),
    jpeg[:at] + b"MM\\0*\\0\\0\\0\\x08\\0\\xff" + jpeg[at + 10:],
    encoded(shapes().quantize(16), "PNG", transparency=bytes(range(16))),
    png(10, 10, *[(b"acTL", b"\\0" * 8)] * 2, (b"IDAT", zlib.compress(b"\\0" * 310))),
    encoded(shapes(), "TIFF")[:-30],
    b"RIFF\\0\\0\\0\\0WEBPVP8 ",
    b"<html>",
]
for kind in ("AVIF", "WEBP", "TIFF", "GIF"):
    items += [encoded(shapes(), kind)[:size] for size in (30, 90, 200)]
def work(data):
    rejected = 0
    for act in (verify, lambda data: normalise(data, 64), phash):
        try:
            act(data)
        except Rejected:
            rejected += 1
    return rejected
with ThreadPoolExecutor(8) as pool:
    print(sum(pool.map(work, items * 5)))
"""


def test_hostile_files_in_threads_cause_no_warning() -> None:
    # in its own process, because pytest changes the warning filters for each test
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", HOSTILE],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) >= 5 * 3 * 16, "most files were not rejected"


def test_random_damage_is_rejected_or_harmless(capfd: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(8)
    whole = [encoded(shapes(), kind, **options) for kind, options in KINDS.items()]
    whole += [encoded(shapes(), "JPEG", progressive=True), encoded(shapes(mode="LA"), "PNG")]
    reasons = set()
    for _ in range(600):
        data = bytearray(rng.choice(whole))
        for _ in range(rng.choice([1, 2, 30])):
            data[rng.randrange(rng.choice([100, len(data)]))] = rng.randrange(256)
        for act in (verify, phash, lambda data: normalise(data, 64)):
            try:
                act(bytes(data))
            except Rejected as rejection:  # and no other error
                reasons.add(rejection.reason)
    assert {"truncated", "not-an-image"} <= reasons
    capfd.readouterr()  # libtiff writes to stderr directly
