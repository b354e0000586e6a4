"""What a chart shows: how much of it is drawn in a colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageColor

NEAR = 6  # levels of a channel; the palette of a PNG moves colours a little


def drawn_in(path: Path, colour: str, alpha: float = 1.0) -> int:
    """Return how many pixels of a PNG are drawn in a colour over white."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), np.float64)
    wanted = alpha * np.array(ImageColor.getrgb(colour)) + (1 - alpha) * 255
    return int((np.abs(pixels - wanted) <= NEAR).all(2).sum())


def size_of(path: Path) -> tuple[int, int]:
    """Return width and height of a PNG."""
    with Image.open(path) as image:
        return image.size
