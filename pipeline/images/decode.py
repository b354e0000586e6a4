"""Decode untrusted images safely: check the header first, and bound the memory.

All untrusted images are opened here. Any defect raises Rejected. The format is detected from the
content, not from the name of a file.
"""

from __future__ import annotations

import io
import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

# Without these imports, Pillow imports all of its sixty plugins when it meets the first AVIF.
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from pipeline.core.errors import Rejected

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


# Pillow warns about unusual metadata and large sizes. This module checks sizes itself, and
# warnings.catch_warnings is not thread-safe, so the warnings are turned off once.
warnings.filterwarnings("ignore", module=r"PIL\.")

MAX_PIXELS = 50_000_000
MAX_SCANS = 500  # of a JPEG; ten are usual, and each takes a pass over all pixels
BYTES_AT_ONCE = 256_000_000  # memory for the pixels that all threads decode at one time

_SIGNATURES = {  # the first bytes of each format, to tell why a file could not be opened
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
_BYTES_PER_PIXEL = {"WEBP": 16, "AVIF": 16}  # their decoders keep extra canvases; others: 4


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """The header of an image: a format from FORMATS, size in pixels, frames, and Pillow's mode.

    Width and height are as stored, before EXIF orientation.
    """

    format: str
    width: int
    height: int
    frames: int
    mode: str


@contextmanager
def open_checked(
    data: bytes, min_side: int, max_pixels: int
) -> Iterator[tuple[Image.Image, ImageInfo]]:
    """Yield an image whose header is checked, and keep memory reserved for decoding it.

    Raises Rejected: empty, not-an-image, format, truncated, too-many-pixels or too-small.
    """
    if not data:
        raise Rejected("empty", "no bytes")
    with _processors:
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
            with _memory(pixels * _BYTES_PER_PIXEL.get(info.format, 4)):
                yield image, info


def _header(data: bytes) -> tuple[Image.Image, ImageInfo]:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        return image, _info(image)
    except MemoryError:
        raise
    except Image.DecompressionBombError as error:
        raise Rejected("too-many-pixels", str(error)) from error
    except Exception as error:  # damaged headers make Pillow raise many kinds of errors
        raise _unreadable(data, error) from error


def _info(image: Image.Image) -> ImageInfo:
    kind = "JPEG" if image.format == "MPO" else str(image.format)  # MPO: several JPEGs in a row
    frames = int(getattr(image, "n_frames", 1))
    return ImageInfo(kind, image.width, image.height, frames, image.mode)


def _unreadable(data: bytes, error: Exception) -> Rejected:
    """Return why a file could not be opened: truncated, in another format, or not an image."""
    start = data[:1024]
    for kind, signature in _SIGNATURES.items():
        if re.match(signature, start, re.DOTALL):
            if kind in FORMATS:
                return Rejected("truncated", f"{kind}: {_described(error)}")
            return Rejected("format", f"{kind}, not one of {', '.join(FORMATS)}")
    shown = start[:24].decode("ascii", "replace").replace("\ufffd", "?")
    return Rejected("not-an-image", f"begins with {shown!r}")


def _described(error: Exception) -> str:
    """Return an error's type and message without memory addresses, which differ in each run."""
    return f"{type(error).__name__}: {re.sub(r' at 0x[0-9a-f]+', '', str(error))}"


def load(image: Image.Image) -> Image.Image:
    """Fully decode an image and return it.

    Raises Rejected: truncated or too-many-pixels.
    """
    try:
        image.load()
    except MemoryError:
        raise
    except Image.DecompressionBombError as error:
        raise Rejected("too-many-pixels", str(error)) from error
    except Exception as error:  # many kinds of errors, as in _header
        raise Rejected("truncated", _described(error)) from error
    return image


# At most one thread per processor decodes, however many threads there are.
_processors = threading.BoundedSemaphore(os.cpu_count() or 1)
_memory_changed = threading.Condition()
_bytes_in_use = 0


@contextmanager
def _memory(wanted: int) -> Iterator[None]:
    """Wait for `wanted` bytes of memory, at most BYTES_AT_ONCE, and reserve them for the block."""
    global _bytes_in_use  # noqa: PLW0603  (one budget for the whole process)
    wanted = min(wanted, BYTES_AT_ONCE)
    with _memory_changed:
        _memory_changed.wait_for(lambda: _bytes_in_use + wanted <= BYTES_AT_ONCE)
        _bytes_in_use += wanted
    try:
        yield
    finally:
        with _memory_changed:
            _bytes_in_use -= wanted
            _memory_changed.notify_all()
