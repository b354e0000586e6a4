"""TIFFs: every kind reads as Pillow reads it, by either reader, and damage has a reason."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.convert.letters import read_image
from pipeline.convert.tiff import read_tiff
from pipeline.core.errors import Rejected
from pipeline.images.bitmap import Bitmap, encode_tiff

LETTER = np.random.default_rng(8).random((23, 37)) < 0.8


def tiff(is_white: npt.NDArray[np.bool_] = LETTER, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(is_white).save(buffer, "TIFF", **options)
    return buffer.getvalue()


def by_hand(order: str = "<", **changes: tuple[int, int]) -> bytes:
    """Return a raw bi-level TIFF; `changes` are type and value by a tag's number ("t262")."""
    data = np.packbits(LETTER, axis=1).tobytes()
    tags = {
        **{256: (3, 37), 257: (3, 23), 258: (3, 1), 259: (3, 1), 262: (3, 1)},
        **{273: (4, 8), 277: (3, 1), 278: (3, 23), 279: (4, len(data))},
    }
    tags |= {int(name[1:]): change for name, change in changes.items()}
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, kind, 1)
        + (struct.pack(f"{order}HH", value, 0) if kind == 3 else struct.pack(f"{order}I", value))
        for tag, (kind, value) in sorted(tags.items())
    )
    start = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(data))
    return start + data + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


KINDS = {
    "raw": tiff(),
    "g4": tiff(compression="group4"),
    "g3": tiff(compression="group3"),
    "lzw": tiff(compression="tiff_lzw"),
    "packbits": tiff(compression="packbits"),
    "deflate": tiff(compression="tiff_adobe_deflate"),
    "as hp": encode_tiff(Bitmap.of(LETTER)),
    "little-endian": by_hand("<"),
    "big-endian": by_hand(">"),
    "white is zero": by_hand("<", t262=(3, 0)),
    "white is zero, big-endian": by_hand(">", t262=(3, 0)),
    "bits from the right": by_hand("<", t266=(3, 2)),
    "strips": tiff(tiffinfo={278: 4}, compression="group4"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_reads_as_pillow_reads_it(kind: str) -> None:
    with Image.open(io.BytesIO(KINDS[kind])) as image:
        expected = Bitmap.of(np.asarray(image.convert("1")))
    found = read_image(KINDS[kind])
    assert found.content_id == expected.content_id
    assert (found.size, found.original_size, found.format) == ((37, 23), (37, 23), "TIFF")
    with Image.open(io.BytesIO(found.png)) as image:
        assert image.mode == "1"


@pytest.mark.parametrize("kind", ["raw", "g4", "as hp", "little-endian", "big-endian"])
def test_the_fast_reader_reads_the_kinds_that_archives_hold(kind: str) -> None:
    quick = read_tiff(KINDS[kind], 4096)
    assert quick is not None and np.array_equal(quick.is_white, LETTER)


def test_the_first_page_is_read_and_a_note_says_so() -> None:
    buffer = io.BytesIO()
    pages = [Image.fromarray(LETTER), Image.fromarray(~LETTER)]
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:], compression="group4")
    found = read_image(buffer.getvalue())
    assert found.content_id == Bitmap.of(LETTER).content_id
    assert found.notes is not None and "first of 2 frames" in found.notes


def test_a_turned_page_is_put_upright() -> None:
    found = read_image(by_hand("<", t274=(3, 3)))
    assert found.content_id == Bitmap.of(LETTER[::-1, ::-1]).content_id


def test_grey_stays_grey_unless_all_pixels_are_black_or_white() -> None:
    buffer = io.BytesIO()
    Image.fromarray(LETTER).convert("L").save(buffer, "TIFF")
    assert read_image(buffer.getvalue()).content_id == Bitmap.of(LETTER).content_id
    buffer = io.BytesIO()
    shades = np.arange(23 * 37, dtype=np.uint8).reshape(23, 37)
    Image.fromarray(shades).save(buffer, "TIFF")
    with Image.open(io.BytesIO(read_image(buffer.getvalue()).png)) as image:
        assert image.mode == "L" and np.array_equal(np.asarray(image), shades)


@pytest.mark.parametrize("format", ["PNG", "BMP", "GIF"])
def test_images_of_other_formats_are_read(format: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(LETTER).save(buffer, format)
    found = read_image(buffer.getvalue())
    assert (found.content_id, found.format) == (Bitmap.of(LETTER).content_id, format)


BROKEN = {
    "cut in the directory": (KINDS["raw"][: len(KINDS["raw"]) // 2], "truncated"),
    "cut in the strip": (by_hand("<", t273=(4, 200)), "truncated"),
    "cut in a compressed strip": (tiff(compression="group4")[:-40], "truncated"),
    "cut after the magic": (b"II*\0", "truncated"),
    "of no width": (by_hand("<", t256=(3, 0)), "truncated"),
    "of no height": (by_hand(">", t257=(3, 0)), "truncated"),
    "a bomb": (by_hand("<", t256=(4, 10**6), t257=(4, 10**6)), "too-many-pixels"),
    "white": (tiff(np.ones((5, 5), np.bool_)), "no-ink"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_damaged_image_is_rejected_with_a_reason(name: str) -> None:
    data, reason = BROKEN[name]
    with pytest.raises(Rejected) as caught:
        read_image(data)
    assert caught.value.reason == reason


@given(st.sampled_from(sorted(KINDS)), st.integers(0, 400), st.binary(min_size=1, max_size=6))
@settings(deadline=None, max_examples=300)
def test_the_fast_reader_agrees_with_pillow_on_damaged_files(
    kind: str, start: int, damage: bytes
) -> None:
    data = KINDS[kind][:start] + damage + KINDS[kind][start + len(damage) :]
    quick = read_tiff(data, 4096)
    if quick is None:
        return
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(np.asarray(image.convert("1")), quick.is_white)


def test_the_twelve_tiffs_that_hp_published(shared: Path) -> None:
    files = sorted((shared / "tamil/original-tiffs").glob("*.tiff"))
    assert len(files) == 12
    for file in files:
        data = file.read_bytes()
        bitmap = read_tiff(data, 4096)
        with Image.open(file) as image:
            assert bitmap is not None and np.array_equal(bitmap.is_white, np.asarray(image))
        assert encode_tiff(bitmap) == data
        assert read_image(data).content_id == bitmap.content_id
