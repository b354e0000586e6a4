"""Perceptual hashes: the same for one picture, whatever its size and how well it is compressed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.images.decode import MAX_PIXELS, load, open_checked
from pipeline.images.normalise import flatten

Frequencies = NDArray[np.float64]

SIDE = 8  # frequencies each way: 64 bits
POLICY = "phash-64 draft-128 gap-2"  # what the bits depend on beside the decoder
_MIRRORED = np.where(np.arange(SIDE) % 2, -1.0, 1.0)  # odd waves across change their sign


def phash(data: bytes, *, max_pixels: int = MAX_PIXELS) -> int:
    """Return the 64-bit perceptual hash of a picture as an unsigned integer.

    imagehash.phash of the JPEG decoder's own reduction to 128 pixels or more, which averages bring
    near 64: about half the time of a full decode, and at most 4 bits apart from it. Equal bytes
    give equal hashes with one version of Pillow only. Raises Rejected like `images.verify`.
    """
    return _bits(_lowest(data, max_pixels))


def phash_both(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return the `phash` of a picture and of its mirror image, at the price of one."""
    low = _lowest(data, max_pixels)
    return _bits(low), _bits(low * _MIRRORED)


def _lowest(data: bytes, max_pixels: int) -> Frequencies:
    """Return the lowest frequencies (8, 8) of a picture's brightness."""
    from scipy.fft import dct

    with open_checked(data, 1, max_pixels) as (image, info):
        image.draft("L", (128, 128))
        plain = load(image) if image.mode in ("L", "RGB") else flatten(load(image), info, [])
    # Lanczos from 250 pixels takes as long as the decode; from 64 to 128 it sees as much.
    small = plain.convert("L").resize((32, 32), Image.Resampling.LANCZOS, reducing_gap=2.0)
    down = dct(np.asarray(small), axis=0)[:SIDE]
    return np.asarray(dct(down, axis=1)[:, :SIDE])


def _bits(low: Frequencies) -> int:
    """Return a bit a frequency, row by row: whether it is above their median."""
    ordered = np.sort(low, axis=None)
    median = (ordered[low.size // 2 - 1] + ordered[low.size // 2]) / 2
    return int.from_bytes(np.packbits(low > median).tobytes(), "big")
