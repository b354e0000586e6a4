"""Pictures from outside, decoded safely: judged by their header, bounded in memory.

Every such picture is opened here and nowhere else; whatever is wrong with it is a `Rejected`.
Formats are told by content, never by a name.
"""

from __future__ import annotations

import ctypes
import io
import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

# The plugins are imported here, or Pillow would import all sixty on meeting the first AVIF.
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


# Pillow warns about odd metadata and about half-suspicious sizes. Sizes are compared here, and
# warnings.catch_warnings is not safe with threads, so they are turned off once for all.
warnings.filterwarnings("ignore", module=r"PIL\.")

MAX_PIXELS = 50_000_000
PILLOW_MAX_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # above this Pillow itself refuses
MAX_SCANS = 500  # of a JPEG; ten are usual, and each costs a pass over all its pixels
BYTES_AT_ONCE = 256_000_000  # of memory for pixels being decoded, by all threads together

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
_BYTES_PER_PIXEL = {"WEBP": 16, "AVIF": 16}  # these hold canvases of their own


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What a picture's file says: format of `FORMATS`, pixels as stored, frames, Pillow's mode."""

    format: str
    width: int
    height: int
    frames: int
    mode: str


@contextmanager
def open_checked(
    data: bytes, min_side: int, max_pixels: int
) -> Iterator[tuple[Image.Image, ImageInfo]]:
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
                return Rejected("truncated", f"{kind}: {_said(error)}")
            return Rejected("format", f"{kind}, not one of {', '.join(FORMATS)}")
    shown = start[:24].decode("ascii", "replace").replace("\ufffd", "?")
    return Rejected("not-an-image", f"begins with {shown!r}")


def _said(error: Exception) -> str:
    """Return an error's kind and words, without the addresses that differ from run to run."""
    return f"{type(error).__name__}: {re.sub(r' at 0x[0-9a-f]+', '', str(error))}"


def load(image: Image.Image) -> Image.Image:
    """Decode to the end; Pillow's LOAD_TRUNCATED_IMAGES stays off."""
    try:
        image.load()
    except MemoryError:
        raise
    except Image.DecompressionBombError as error:
        raise Rejected("too-many-pixels", str(error)) from error
    except Exception as error:  # as above
        raise Rejected("truncated", _said(error)) from error
    return image


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
