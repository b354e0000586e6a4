"""Pictures as bytes: verified to the end, brought to one form, named by content.

Colours are taken as stored: an ICC profile is not applied.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops

from pipeline.core.errors import Rejected
from pipeline.images.decode import EXTENSIONS, FORMATS, MAX_PIXELS, ImageInfo, load, open_checked

__all__ = [
    "EXTENSIONS",
    "FORMATS",
    "MAX_PIXELS",
    "ImageInfo",
    "Normalised",
    "content_id",
    "flatten",
    "normalise",
    "open_rgb",
    "verify",
]

JPEG_QUALITY = 92  # no visible loss; hashes move as little as at 95, at a fifth fewer bytes
_TURNS = {  # EXIF orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
_LOSSLESS = ("PNG", "GIF", "BMP", "TIFF")


@dataclass(frozen=True, slots=True)
class Normalised:
    """A picture in the form of the samples: JPEG or PNG, upright, RGB or L, one frame.

    `width` and `height` are of `data`, `info` is of the original, `notes` say what was done.
    """

    data: bytes
    format: str
    width: int
    height: int
    info: ImageInfo
    notes: tuple[str, ...]


def content_id(data: bytes) -> str:
    """Return the sha256 of a file's bytes in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def verify(data: bytes, *, min_side: int = 1, max_pixels: int = MAX_PIXELS) -> ImageInfo:
    """Decode the (first) picture of a file to its end and return what it is.

    Raises Rejected: empty, not-an-image, format, too-many-pixels, truncated, too-small. Size is
    judged from the header, before anything is decoded. Safe with threads.
    """
    with open_checked(data, min_side, max_pixels) as (image, info):
        _decode_only(image)
    return info


def normalise(
    data: bytes, max_side: int, *, min_side: int = 1, max_pixels: int = MAX_PIXELS
) -> Normalised:
    """Return a picture upright, in RGB or L, one frame, no side above `max_side` pixels.

    A JPEG or PNG that is so already keeps its bytes. What is lossless and keeps its size becomes
    PNG, all else JPEG. Alpha lies over white, and 16 bits become 8. Raises Rejected like `verify`.
    """
    with open_checked(data, min_side, max_pixels) as (image, info):
        if _is_normal(image, info, max_side):
            _decode_only(image)
            return Normalised(data, info.format, info.width, info.height, info, ())
        notes = [f"first of {info.frames} frames"] if info.frames > 1 else []
        size = _within(info.width, info.height, max_side)
        if size != image.size:
            image.draft(None, (2 * size[0], 2 * size[1]))  # half the work, none of the sharpness
        plain = flatten(load(image), info, notes)
        turn = _turn(image)
        if size != (info.width, info.height):
            notes.append("reduced")
            plain = plain.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
        if turn is not None:
            notes.append("turned upright")
            plain = plain.transpose(turn)
    is_lossless = info.format in _LOSSLESS and "reduced" not in notes
    kind = "PNG" if is_lossless else "JPEG"
    if kind != info.format:
        notes.append(f"{info.format} to {kind}")
    buffer = io.BytesIO()
    plain.save(buffer, kind, quality=JPEG_QUALITY)
    return Normalised(buffer.getvalue(), kind, plain.width, plain.height, info, tuple(notes))


def open_rgb(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return the (first) picture of a file upright and in RGB. Raises Rejected like `verify`."""
    with open_checked(data, 1, max_pixels) as (image, info):
        plain = flatten(load(image), info, []).convert("RGB")
        turn = _turn(image)
        return plain if turn is None else plain.transpose(turn)


def _decode_only(image: Image.Image) -> None:
    """Decode without wanting the pixels: a JPEG at an eighth reads all its data, too."""
    image.draft(None, (1, 1))
    load(image)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return what makes the picture upright, None when it is or when its EXIF is damaged.

    Of a picture that was loaded: Pillow turns a TIFF while loading and forgets its orientation.
    """
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged metadata is no reason to lose a picture
        return None


def _is_normal(image: Image.Image, info: ImageInfo, max_side: int) -> bool:
    return (
        info.format in ("JPEG", "PNG")
        and info.mode in ("RGB", "L")
        and (info.frames == 1 or info.format == "JPEG")  # readers of a JPEG stop after the first
        and _turn(image) is None
        and not image.has_transparency_data
        and max(info.width, info.height) <= max_side
    )


def _within(width: int, height: int, side: int) -> tuple[int, int]:
    """Return the size in proportion that has no side above `side`."""
    scale = min(1.0, side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def flatten(image: Image.Image, info: ImageInfo, notes: list[str]) -> Image.Image:
    """Return a decoded picture in L (where it is grey) or RGB; tell `notes` what was done."""
    if image.mode.startswith("I;16"):
        notes.append("16-bit grey to 8")
        wide = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode in ("I", "F"):
        notes.append("32-bit grey stretched to 8")
        return Image.fromarray(_stretched(np.asarray(image)))
    if image.mode == "P":
        notes.append("palette")
    try:
        if image.has_transparency_data:
            notes.append("alpha over white")
            top = image.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", top.size, "white"), top).convert("RGB")
        if image.mode == "CMYK":
            notes.append("CMYK")
            if info.format == "JPEG" and "adobe" not in image.info:
                image = ImageChops.invert(image)  # Pillow takes every CMYK JPEG for Adobe's
        if image.mode in ("1", "L"):
            return image.convert("L")
        return image.convert("RGB")
    except ValueError as error:  # no way from this mode to RGB
        raise Rejected("format", f"{info.format} in mode {info.mode}") from error


def _stretched(values: np.ndarray) -> np.ndarray:
    """Return numbers of any range as 0..255, the least as 0 and the greatest as 255."""
    finite = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = finite.min(), finite.max()
    return np.rint((finite - low) * (255.0 / max(high - low, 1e-300))).astype(np.uint8)
