"""Perceptual hashes: nearly equal for the same image at any size and compression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.images.decode import MAX_PIXELS, load, open_checked
from pipeline.images.normalise import flatten

Frequencies = NDArray[np.float64]

SIDE = 8  # frequencies along each axis: 64 bits
POLICY = "phash-64 draft-128 gap-2"  # with the version of the decoder, it determines the bits
_MIRRORED = np.where(np.arange(SIDE) % 2, -1.0, 1.0)  # mirroring negates odd frequencies across


def phash(data: bytes, *, max_pixels: int = MAX_PIXELS) -> int:
    """Return the 64-bit perceptual hash of an encoded image as an unsigned integer.

    Each bit says whether one of the lowest 8 x 8 frequencies of the brightness is above their
    median. Source: `phash` of the package imagehash. To save half the time, a JPEG is decoded at
    the smallest scale of 128 pixels or more; the hash differs from that of a full decode by at most
    4 bits.

    Another version of Pillow may give the same bytes another hash. Raises Rejected if the image
    cannot be decoded or has more than `max_pixels` pixels.
    """
    return _bits(_lowest(data, max_pixels))


def phash_both(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return the `phash` of an encoded image and of its mirror image, in the time of one.

    Raises Rejected like `phash`.
    """
    low = _lowest(data, max_pixels)
    return _bits(low), _bits(low * _MIRRORED)


def _lowest(data: bytes, max_pixels: int) -> Frequencies:
    """Return the lowest frequencies (SIDE, SIDE) of an image: vertical, then horizontal."""
    from scipy.fft import dct

    with open_checked(data, 1, max_pixels) as (image, info):
        image.draft("L", (128, 128))
        plain = load(image) if image.mode in ("L", "RGB") else flatten(load(image), info, [])
    # Lanczos from 250 pixels would take as long as the decode. Averages first reduce the image to
    # 64 to 127 pixels (reducing_gap), which is just as accurate.
    small = plain.convert("L").resize((32, 32), Image.Resampling.LANCZOS, reducing_gap=2.0)
    down = dct(np.asarray(small), axis=0)[:SIDE]
    return np.asarray(dct(down, axis=1)[:, :SIDE])


def _bits(low: Frequencies) -> int:
    """Return a bit for each frequency, row by row: whether it is above their median."""
    ordered = np.sort(low, axis=None)
    median = (ordered[low.size // 2 - 1] + ordered[low.size // 2]) / 2
    return int.from_bytes(np.packbits(low > median).tobytes(), "big")
