"""Normalising: orientation, colour modes, transparency, bit depth and size."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from pipeline.core.errors import Rejected
from pipeline.images.normalise import content_id, flatten, normalise, open_rgb, verify
from tests.tables import encoded, shapes

# decode.py turns Pillow's warnings off once, but pytest turns them on again for each test
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")

ORIENTATION = 0x0112  # the EXIF tag


def pixel(data: bytes, x: int, y: int) -> tuple[int, ...]:
    value = Image.open(io.BytesIO(data)).convert("RGB").getpixel((x, y))
    assert isinstance(value, tuple)
    return tuple(int(part) for part in value)


def is_near(a: tuple[int, ...], b: tuple[int, ...], within: int = 6) -> bool:
    return max(abs(x - y) for x, y in zip(a, b, strict=True)) <= within


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_the_first_of_several_frames_is_used(kind: str) -> None:
    frames = [Image.new("RGB", (50, 40), colour) for colour in ("red", "lime", "blue")]
    data = encoded(
        frames[0], kind, save_all=True, append_images=frames[1:], duration=100, quality=95
    )
    assert verify(data).frames == 3
    done = normalise(data, 512)
    assert "first of 3 frames" in done.notes
    assert verify(done.data).frames == 1
    assert is_near(pixel(done.data, 25, 20), (255, 0, 0), 8)


def test_a_second_image_in_a_camera_s_jpeg_changes_nothing() -> None:
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
        6: Image.Transpose.ROTATE_90,  # the inverse of the upright turn
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(backwards[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(stored, kind, exif=exif, quality=95)
    done = normalise(data, 512)
    assert (done.width, done.height) == (96, 64)
    if kind != "TIFF":  # Pillow turns a TIFF while loading it
        assert (done.info.width, done.info.height) == stored.size
        assert ("turned upright" in done.notes) == (orientation > 1)
    for result in (Image.open(io.BytesIO(done.data)), open_rgb(data)):
        difference = np.asarray(result.convert("RGB")).astype(int) - np.asarray(upright)
        assert np.abs(difference).mean() < 4


def test_damaged_exif_is_no_reason_to_reject_an_image() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = encoded(shapes(), "JPEG", exif=exif)
    at = data.index(b"Exif\0\0") + 6
    for broken in (b"XX*\0", b"MM\0*\xff\xff\xff\xf0"):
        done = normalise(data[:at] + broken + data[at + len(broken) :], 512)
        assert (done.width, done.height) == (120, 80)


def test_cmyk_with_and_without_adobe_s_inversion() -> None:
    # Adobe's marker means that the inks are stored inverted; Pillow always assumes that
    cyan = Image.new("CMYK", (40, 40), (255, 0, 0, 0))
    adobe = encoded(cyan, "JPEG", quality=100)
    at = adobe.index(b"\xff\xee")
    length = struct.unpack(">H", adobe[at + 2 : at + 4])[0]
    inks = Image.new("CMYK", (40, 40), (0, 255, 255, 255))  # Pillow stores this inverted
    plain = encoded(inks, "JPEG", quality=100)
    plain = plain[:at] + plain[at + 2 + length :]
    assert b"Adobe" not in plain
    for data in (adobe, plain):
        done = normalise(data, 512)
        assert is_near(pixel(done.data, 20, 20), (0, 255, 255)), data is adobe
        assert done.notes == ("CMYK",)
        assert verify(done.data).mode == "RGB"


def test_transparency_is_blended_with_white() -> None:
    clear = Image.new("RGBA", (30, 30), (0, 0, 0, 0))
    half = Image.new("RGBA", (30, 30), (0, 0, 255, 128))
    for image, expected in ((clear, (255, 255, 255)), (half, (127, 127, 255))):
        for kind in ("PNG", "WEBP"):
            done = normalise(encoded(image, kind, lossless=True), 512)
            assert "alpha over white" in done.notes
            assert is_near(pixel(done.data, 15, 15), expected)
    grey = normalise(encoded(Image.new("LA", (30, 30), (0, 0)), "PNG"), 512)
    assert pixel(grey.data, 5, 5) == (255, 255, 255)


def test_a_palette_keeps_its_colours_and_its_transparency() -> None:
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
    with pytest.raises(Rejected, match="format"):  # a mode that Pillow cannot convert to RGB
        flatten(Image.new("La", (9, 9)), info, [])


def test_a_normal_image_keeps_its_bytes() -> None:
    for data in (
        encoded(shapes(), "JPEG", progressive=True),
        encoded(shapes(mode="L"), "JPEG"),
        encoded(shapes(), "PNG"),
        encoded(shapes(mode="L"), "PNG"),
    ):
        done = normalise(data, 120)
        assert done.data is data
        assert done.notes == ()


def test_a_large_image_is_reduced_in_proportion() -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        data = encoded(shapes(1600, 600), kind, quality=85)
        done = normalise(data, 400)
        assert (done.width, done.height, done.format) == (400, 150, "JPEG")
        assert (done.info.width, done.info.height) == (1600, 600)
        assert "reduced" in done.notes
        direct = shapes(1600, 600).resize((400, 150), Image.Resampling.LANCZOS)
        out = np.asarray(Image.open(io.BytesIO(done.data))).astype(int)
        assert np.abs(out - np.asarray(direct)).mean() < 3
    assert normalise(encoded(Image.new("RGB", (2000, 16)), "PNG"), 20).height == 1


def test_a_reduced_image_is_normal() -> None:
    once = normalise(encoded(shapes(900, 700), "WEBP"), 512)
    again = normalise(once.data, 512)
    assert again.data is once.data
    assert normalise(encoded(shapes(900, 700), "WEBP"), 512).data == once.data


def test_content_id_is_the_file_s_sha256() -> None:
    assert content_id(b"abc").startswith("ba7816bf8f01cfea414140de5dae2223")
