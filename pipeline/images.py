"""Pictures as bytes: verified to the end, brought to one form, named and hashed by content.

Every picture from outside is opened here and nowhere else. Colours are taken as stored: an ICC
profile is not applied. Formats are told by content, never by a name.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np

# The plugins are imported here, or Pillow would import all sixty on meeting the first AVIF.
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageChops,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from pipeline.errors import Rejected

_PLUGINS = (
    JpegImagePlugin.JpegImageFile,
    PngImagePlugin.PngImageFile,
    WebPImagePlugin.WebPImageFile,
    GifImagePlugin.GifImageFile,
    AvifImagePlugin.AvifImageFile,
    BmpImagePlugin.BmpImageFile,
    TiffImagePlugin.TiffImageFile,
)
FORMATS = tuple(plugin.format for plugin in _PLUGINS)
EXTENSIONS = dict(
    zip(FORMATS, (".jpg", ".png", ".webp", ".gif", ".avif", ".bmp", ".tiff"), strict=True)
)

# Pillow warns about odd metadata and about half-suspicious sizes. Sizes are compared here, and
# warnings.catch_warnings is not safe with threads, so they are turned off once for all.
warnings.filterwarnings("ignore", module=r"PIL\.")

MAX_PIXELS = 50_000_000
PILLOW_MAX_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # above this Pillow itself refuses
MAX_SCANS = 500  # of a JPEG; ten are usual, and each costs a pass over all its pixels
BYTES_AT_ONCE = 256_000_000  # of memory for pixels being decoded, by all threads together

JPEG_QUALITY = 92  # no visible loss; hashes move as little as at 95, at a fifth fewer bytes

_BEGINNINGS = {  # what the first bytes say, asked only when a picture could not be opened
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "WEBP": rb"RIFF....WEBP",
    "GIF": rb"GIF8[79]a",
    "AVIF": rb"....ftypavi[fs]",
    "BMP": rb"BM.{4}\0{4}",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "SVG": rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?<svg\b",
    "HEIC": rb"....ftyp(hei[cfmsx]|hev[cx]|mif1|msf1)",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "ICO": rb"\0\0[\1\2]\0",
    "PSD": rb"8BPS",
    "PDF": rb"%PDF-",
}
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
_BYTES_PER_PIXEL = {"WEBP": 16, "AVIF": 16}  # these hold canvases of their own
_LOSSLESS = ("PNG", "GIF", "BMP", "TIFF")


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What a picture's file says: format of `FORMATS`, pixels as stored, frames, Pillow's mode."""

    format: str
    width: int
    height: int
    frames: int
    mode: str


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
    with _opened(data, min_side, max_pixels) as (image, info):
        _decode_only(image)
    return info


def normalise(
    data: bytes, max_side: int, *, min_side: int = 1, max_pixels: int = MAX_PIXELS
) -> Normalised:
    """Return a picture upright, in RGB or L, one frame, no side above `max_side` pixels.

    A JPEG or PNG that is so already keeps its bytes. What is lossless and keeps its size becomes
    PNG, all else JPEG. Alpha lies over white, and 16 bits become 8. Raises Rejected like `verify`.
    """
    with _opened(data, min_side, max_pixels) as (image, info):
        if _is_normal(image, info, max_side):
            _decode_only(image)
            return Normalised(data, info.format, info.width, info.height, info, ())
        notes = [f"first of {info.frames} frames"] if info.frames > 1 else []
        size = _within(info.width, info.height, max_side)
        if size != image.size:
            image.draft(None, (2 * size[0], 2 * size[1]))  # half the work, none of the sharpness
        plain = _flatten(_load(image), info, notes)
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
    with _opened(data, 1, max_pixels) as (image, info):
        plain = _flatten(_load(image), info, []).convert("RGB")
        turn = _turn(image)
        return plain if turn is None else plain.transpose(turn)


def phash(data: bytes, *, max_pixels: int = MAX_PIXELS) -> int:
    """Return the 64-bit perceptual hash of a picture as an unsigned integer.

    imagehash.phash of the JPEG decoder's own reduction to 128 pixels or more: a third of the time
    of a full decode, and at most 4 bits apart from it. Equal bytes give equal hashes with one
    version of Pillow only. Raises Rejected like `verify`.
    """
    return _phash(_reduced(data, max_pixels))


def phash_both(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return the `phash` of a picture and of its mirror image."""
    plain = _reduced(data, max_pixels)
    return _phash(plain), _phash(plain.transpose(Image.Transpose.FLIP_LEFT_RIGHT))


def _phash(image: Image.Image) -> int:
    import imagehash

    return int(str(imagehash.phash(image)), 16)


def _reduced(data: bytes, max_pixels: int) -> Image.Image:
    with _opened(data, 1, max_pixels) as (image, info):
        image.draft("L", (128, 128))
        return _load(image) if image.mode in ("L", "RGB") else _flatten(_load(image), info, [])


@contextmanager
def _opened(data: bytes, min_side: int, max_pixels: int) -> Iterator[tuple[Image.Image, ImageInfo]]:
    """Give a picture whose header has been judged, and room to decode it."""
    if not data:
        raise Rejected("empty", "no bytes")
    with _turns:
        image, info = _header(data)
        with image:
            pixels = info.width * info.height
            size = f"{info.width}x{info.height}"
            if pixels > max_pixels:
                raise Rejected("too-many-pixels", f"{size}, at most {max_pixels}")
            if min(info.width, info.height) < min_side:
                raise Rejected("too-small", f"{size}, sides under {min_side}")
            if info.format == "JPEG" and (scans := data.count(b"\xff\xda")) > MAX_SCANS:
                raise Rejected("too-many-pixels", f"{size} in {scans} scans")
            with _room(pixels * _BYTES_PER_PIXEL.get(info.format, 4)):
                yield image, info


def _header(data: bytes) -> tuple[Image.Image, ImageInfo]:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        return image, _info(image)
    except MemoryError:
        raise
    except Image.DecompressionBombError as error:
        raise Rejected("too-many-pixels", str(error)) from error
    except Exception as error:  # hostile headers make Pillow raise nearly anything
        raise _unreadable(data, error) from error


def _info(image: Image.Image) -> ImageInfo:
    kind = "JPEG" if image.format == "MPO" else str(image.format)  # MPO: JPEGs one after another
    frames = int(getattr(image, "n_frames", 1))
    return ImageInfo(kind, image.width, image.height, frames, image.mode)


def _unreadable(data: bytes, error: Exception) -> Rejected:
    """Say why a file could not be opened: cut in its header, of a foreign format, or no picture."""
    start = data[:1024]
    for kind, beginning in _BEGINNINGS.items():
        if re.match(beginning, start, re.DOTALL):
            if kind in FORMATS:
                return Rejected("truncated", f"{kind}: {type(error).__name__}: {error}")
            return Rejected("format", f"{kind}, not one of {', '.join(FORMATS)}")
    shown = start[:24].decode("ascii", "replace").replace("\ufffd", "?")
    return Rejected("not-an-image", f"begins with {shown!r}")


def _load(image: Image.Image) -> Image.Image:
    """Decode to the end; Pillow's LOAD_TRUNCATED_IMAGES stays off."""
    try:
        image.load()
    except MemoryError:
        raise
    except Image.DecompressionBombError as error:
        raise Rejected("too-many-pixels", str(error)) from error
    except Exception as error:  # as above
        raise Rejected("truncated", f"{type(error).__name__}: {error}") from error
    return image


def _decode_only(image: Image.Image) -> None:
    """Decode without wanting the pixels: a JPEG at an eighth reads all its data, too."""
    image.draft(None, (1, 1))
    _load(image)


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


def _flatten(image: Image.Image, info: ImageInfo, notes: list[str]) -> Image.Image:
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


_M_MMAP_THRESHOLD = -3  # malloc.h

# However many threads download, no more decode than there are processors.
_turns = threading.BoundedSemaphore(os.cpu_count() or 1)
_room_changed = threading.Condition()
_bytes_in_use = 0


@contextmanager
def _room(wanted: int) -> Iterator[None]:
    """Wait until so many bytes may be used; who wants more than there are waits to be alone."""
    global _bytes_in_use  # noqa: PLW0603  (one budget for the process is its meaning)
    wanted = min(wanted, BYTES_AT_ONCE)
    with _room_changed:
        _room_changed.wait_for(lambda: _bytes_in_use + wanted <= BYTES_AT_ONCE)
        _bytes_in_use += wanted
    try:
        yield
    finally:
        with _room_changed:
            _bytes_in_use -= wanted
            _room_changed.notify_all()


def return_freed_memory() -> None:
    """Have glibc give large freed buffers back at once; for a process of many threads.

    Otherwise every thread's arena keeps what the largest picture took: 64 threads that verify
    20 MB PNGs come to 600 MB instead of 114. Not for training, which lives by reused buffers.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)
