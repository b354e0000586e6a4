"""Pictures: every kind that a web page serves, and every way a file can lie."""

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

import numpy as np
import pytest
from PIL import Image, ImageCms

from pipeline.core.errors import Rejected
from pipeline.dedupe.phash import phash
from pipeline.images import decode
from pipeline.images.normalise import (
    _ORIENTATION,
    EXTENSIONS,
    content_id,
    flatten,
    normalise,
    open_rgb,
    verify,
)
from tests.conftest import ROOT
from tests.tables import encoded, png, shapes

# normalise.py turns Pillow's warnings off once; pytest turns them on again around every test
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")


def reason(data: bytes, **options: int) -> str:
    with pytest.raises(Rejected) as caught:
        verify(data, **options)
    assert caught.value.detail
    return caught.value.reason


def pixel(data: bytes, x: int, y: int) -> tuple[int, ...]:
    value = Image.open(io.BytesIO(data)).convert("RGB").getpixel((x, y))
    assert isinstance(value, tuple)
    return tuple(int(part) for part in value)


def is_near(a: tuple[int, ...], b: tuple[int, ...], within: int = 6) -> bool:
    return max(abs(x - y) for x, y in zip(a, b, strict=True)) <= within


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
def test_every_format_is_told_by_content(kind: str) -> None:
    info = verify(encoded(shapes(), kind, **KINDS[kind]))
    assert (info.format, info.width, info.height, info.frames) == (kind, 120, 80, 1)
    assert EXTENSIONS[info.format].startswith(".")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_anywhere_is_truncated(kind: str) -> None:
    # a BMP's last row and a PNG's end chunk hold nothing that is missed
    whole = encoded(shapes(300, 200), kind, **KINDS[kind])
    for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97):
        cut = whole[: max(40, int(len(whole) * share))]
        assert reason(cut) == "truncated", share


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_cut_jpeg_is_seen_at_an_eighth_as_at_full_size(options: dict[str, Any]) -> None:
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
def test_what_is_no_picture_says_why(data: bytes, expected: str) -> None:
    assert reason(data) == expected


def test_a_reason_is_the_same_in_every_run() -> None:
    with pytest.raises(Rejected) as caught:
        verify(b"\x89PNG\r\n\x1a\n")
    assert "0x" not in caught.value.detail, "an address would change rejected.csv"


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "TIFF", "BMP", "JPEG", "AVIF"])
def test_a_bomb_is_refused_from_its_header(kind: str) -> None:
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


def test_the_pixel_cap_is_the_callers() -> None:
    data = encoded(shapes(120, 80), "PNG")
    assert verify(data, max_pixels=9600).width == 120
    assert reason(data, max_pixels=9599) == "too-many-pixels"
    assert decode.PILLOW_MAX_PIXELS > decode.MAX_PIXELS


def test_a_tile_larger_than_its_picture_is_refused() -> None:
    # a TIFF of 64x64 pixels whose one tile claims 40,000 x 40,000
    tags = [(256, 64), (257, 64), (258, 8), (259, 1), (262, 1), (277, 1)]
    tags += [(322, 40_000), (323, 40_000), (324, 8), (325, 16)]
    body = struct.pack("<H", len(tags))
    for tag, value in tags:
        body += struct.pack("<HHII", tag, 4, 1, value)
    data = b"II*\0" + struct.pack("<I", 8 + 16) + b"\0" * 16 + body + b"\0" * 4
    assert reason(data) in ("too-many-pixels", "truncated")


def test_a_jpeg_of_countless_scans_is_refused() -> None:
    whole = encoded(shapes(), "JPEG", progressive=True)
    scan = whole.rindex(b"\xff\xda")
    assert reason(whole[:-2] + whole[scan:-2] * 600 + b"\xff\xd9") == "too-many-pixels"


def test_side_is_judged_by_the_shorter_one() -> None:
    data = encoded(shapes(120, 80), "JPEG")
    assert verify(data, min_side=80).height == 80
    assert reason(data, min_side=81) == "too-small"


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_the_first_of_many_frames_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (50, 40), colour) for colour in ("red", "lime", "blue")]
    data = encoded(
        frames[0], kind, save_all=True, append_images=frames[1:], duration=100, quality=95
    )
    assert verify(data).frames == 3
    done = normalise(data, 512)
    assert "first of 3 frames" in done.notes
    assert verify(done.data).frames == 1
    assert is_near(pixel(done.data, 25, 20), (255, 0, 0), 8)


def test_a_camera_s_second_picture_in_a_jpeg_changes_nothing() -> None:
    first, second = shapes(), shapes().rotate(180)
    data = encoded(first, "MPO", save_all=True, append_images=[second], quality=90)
    assert verify(data).format == "JPEG"
    assert normalise(data, 512).data == data


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_out_upright(kind: str, orientation: int) -> None:
    upright = shapes(96, 64)
    backwards = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,  # the inverse of what puts it right
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(backwards[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    data = encoded(stored, kind, exif=exif, quality=95)
    done = normalise(data, 512)
    assert (done.width, done.height) == (96, 64)
    if kind != "TIFF":  # Pillow itself turns those, while it loads them
        assert (done.info.width, done.info.height) == stored.size
        assert ("turned upright" in done.notes) == (orientation > 1)
    for result in (Image.open(io.BytesIO(done.data)), open_rgb(data)):
        difference = np.asarray(result.convert("RGB")).astype(int) - np.asarray(upright)
        assert np.abs(difference).mean() < 4


def test_damaged_exif_is_no_reason_to_lose_a_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(shapes(), "JPEG", exif=exif)
    at = data.index(b"Exif\0\0") + 6
    for broken in (b"XX*\0", b"MM\0*\xff\xff\xff\xf0"):
        done = normalise(data[:at] + broken + data[at + len(broken) :], 512)
        assert (done.width, done.height) == (120, 80)


def test_cmyk_with_and_without_adobe_s_inversion() -> None:
    # Adobe's marker says that the inks are stored inverted; Pillow takes that for granted
    cyan = Image.new("CMYK", (40, 40), (255, 0, 0, 0))
    adobe = encoded(cyan, "JPEG", quality=100)
    at = adobe.index(b"\xff\xee")
    length = struct.unpack(">H", adobe[at + 2 : at + 4])[0]
    inks = Image.new("CMYK", (40, 40), (0, 255, 255, 255))  # what Pillow stores inverted
    plain = encoded(inks, "JPEG", quality=100)
    plain = plain[:at] + plain[at + 2 + length :]
    assert b"Adobe" not in plain
    for data in (adobe, plain):
        done = normalise(data, 512)
        assert is_near(pixel(done.data, 20, 20), (0, 255, 255)), data is adobe
        assert done.notes == ("CMYK",)
        assert verify(done.data).mode == "RGB"


def test_transparency_lies_over_white() -> None:
    clear = Image.new("RGBA", (30, 30), (0, 0, 0, 0))
    half = Image.new("RGBA", (30, 30), (0, 0, 255, 128))
    for image, expected in ((clear, (255, 255, 255)), (half, (127, 127, 255))):
        for kind in ("PNG", "WEBP"):
            done = normalise(encoded(image, kind, lossless=True), 512)
            assert "alpha over white" in done.notes
            assert is_near(pixel(done.data, 15, 15), expected)
    grey = normalise(encoded(Image.new("LA", (30, 30), (0, 0)), "PNG"), 512)
    assert pixel(grey.data, 5, 5) == (255, 255, 255)


def test_a_palette_keeps_its_colours_and_its_holes() -> None:
    image = shapes().quantize(16)
    plain = normalise(encoded(image, "PNG"), 512)
    assert plain.notes == ("palette",)
    assert np.array_equal(
        np.asarray(Image.open(io.BytesIO(plain.data))), np.asarray(image.convert("RGB"))
    )
    index = image.getpixel((0, 0))
    for transparency in (index, bytes([0 if i == index else 255 for i in range(16)])):
        hole = normalise(encoded(image, "PNG", transparency=transparency), 512)
        assert hole.notes == ("palette", "alpha over white")
        assert pixel(hole.data, 0, 0) == (255, 255, 255)
        assert pixel(hole.data, 70, 60) == pixel(plain.data, 70, 60)


def test_a_colour_key_is_transparency_too() -> None:
    done = normalise(encoded(shapes(), "PNG", transparency=(20, 160, 90)), 512)
    assert pixel(done.data, 80, 60) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_become_eight(kind: str) -> None:
    wide = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    done = normalise(encoded(Image.fromarray(wide), kind), 512)
    assert "16-bit grey to 8" in done.notes
    out = np.asarray(Image.open(io.BytesIO(done.data)))
    assert np.abs(out - wide / 257.0).max() <= 0.51


def test_floating_point_and_32_bit_grey_are_stretched() -> None:
    for values in (
        np.linspace(-3.0, 9.0, 4096, dtype=np.float32).reshape(64, 64),
        np.linspace(-100, 2_000_000, 4096).reshape(64, 64).astype(np.int32),
        np.full((64, 64), np.nan, np.float32),
    ):
        out = Image.open(io.BytesIO(normalise(encoded(Image.fromarray(values), "TIFF"), 512).data))
        low, high = out.convert("L").getextrema()
        assert (low, high) == ((0, 0) if np.isnan(values).all() else (0, 255))


def test_bilevel_and_other_modes_come_through() -> None:
    letter = normalise(encoded(shapes(mode="1"), "TIFF", compression="group4"), 512)
    assert set(np.unique(np.asarray(Image.open(io.BytesIO(letter.data))))) == {0, 255}
    assert normalise(encoded(shapes(mode="YCbCr"), "TIFF"), 512).format == "PNG"
    lab = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    stored = ImageCms.profileToProfile(shapes(), lab[1], lab[0], outputMode="LAB")
    assert stored is not None
    assert verify(normalise(encoded(stored, "TIFF"), 512).data).mode == "RGB"
    info = verify(encoded(shapes(), "TIFF"))
    with pytest.raises(Rejected, match="format"):  # a mode that Pillow cannot turn into RGB
        flatten(Image.new("La", (9, 9)), info, [])


def test_what_needs_nothing_keeps_its_bytes() -> None:
    for data in (
        encoded(shapes(), "JPEG", progressive=True),
        encoded(shapes(mode="L"), "JPEG"),
        encoded(shapes(), "PNG"),
        encoded(shapes(mode="L"), "PNG"),
    ):
        done = normalise(data, 120)
        assert done.data is data
        assert done.notes == ()


def test_larger_is_reduced_in_proportion() -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        data = encoded(shapes(1600, 600), kind, **KINDS[kind])
        done = normalise(data, 400)
        assert (done.width, done.height, done.format) == (400, 150, "JPEG")
        assert (done.info.width, done.info.height) == (1600, 600)
        assert "reduced" in done.notes
        direct = shapes(1600, 600).resize((400, 150), Image.Resampling.LANCZOS)
        out = np.asarray(Image.open(io.BytesIO(done.data))).astype(int)
        assert np.abs(out - np.asarray(direct)).mean() < 3
    assert normalise(encoded(Image.new("RGB", (2000, 16)), "PNG"), 20).height == 1


def test_a_reduced_picture_keeps_its_form() -> None:
    once = normalise(encoded(shapes(900, 700), "WEBP"), 512)
    again = normalise(once.data, 512)
    assert again.data is once.data
    assert normalise(encoded(shapes(900, 700), "WEBP"), 512).data == once.data


def test_content_id_is_the_file_s_sha256() -> None:
    assert content_id(b"abc").startswith("ba7816bf8f01cfea414140de5dae2223")


def test_what_is_decoded_at_once_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "BYTES_AT_ONCE", 100_000)
    monkeypatch.setattr(decode, "_turns", threading.BoundedSemaphore(16))
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
        # one above the whole budget waits to be alone and still gets through
        assert pool.submit(verify, encoded(shapes(300, 300), "BMP")).result().width == 300
    assert peak <= 2


HOSTILE = """
import io, sys, struct
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from PIL import Image
from pipeline.errors import Rejected
from pipeline.images import normalise, verify
from pipeline.phash import phash
from tests.tables import encoded, png, shapes
import zlib
exif = Image.Exif(); exif[0x0112] = 6; exif[0x010F] = "x" * 50
jpeg = encoded(shapes(), "JPEG", exif=exif)
at = jpeg.index(b"Exif\\0\\0") + 6
p = shapes().quantize(16)
items = [
    png(12_000, 10_000, (b"IDAT", b"")), png(30_000, 30_000, (b"IDAT", b"")),
    jpeg[:at] + b"MM\\0*\\0\\0\\0\\x08\\0\\xff" + jpeg[at + 10:],
    encoded(p, "PNG", transparency=bytes(range(16))),
    png(10, 10, *[(b"acTL", b"\\0" * 8)] * 2, (b"IDAT", zlib.compress(b"\\0" * 310))),
    encoded(shapes(), "TIFF")[:-30], b"RIFF\\0\\0\\0\\0WEBPVP8 ", b"<html>",
]
items += [encoded(shapes(), k)[:n] for k in ("AVIF", "WEBP", "TIFF", "GIF") for n in (30, 90, 200)]
def work(data):
    for act in (verify, lambda d: normalise(d, 64), phash):
        try:
            act(data)
        except Rejected as no:
            pass
with ThreadPoolExecutor(8) as pool:
    list(pool.map(work, items * 5))
"""


def test_hostile_files_in_threads_warn_of_nothing() -> None:
    # in its own process: pytest changes the warning filters around every test
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", HOSTILE],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_sixty_four_threads_stay_small() -> None:
    code = """
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np
from PIL import Image
from pipeline.decoding import return_freed_memory
from pipeline.images import verify
return_freed_memory()
noise = np.random.default_rng(8).integers(0, 256, (1800, 1800, 3), dtype=np.uint8)
buffer = io.BytesIO()
Image.fromarray(noise).save(buffer, "PNG", compress_level=1)
del noise
with ThreadPoolExecutor(64) as pool:
    assert {info.width for info in pool.map(verify, [buffer.getvalue()] * 64)} == {1800}
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(out.stdout) < 250_000  # kB; one such picture takes 13 MB, twice its file


def test_random_damage_is_refused_or_harmless(capfd: pytest.CaptureFixture[str]) -> None:
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
            except Rejected as refusal:  # and nothing else
                reasons.add(refusal.reason)
    assert {"truncated", "not-an-image"} <= reasons
    capfd.readouterr()  # libtiff writes to stderr past Python
