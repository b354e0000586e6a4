"""Ink whose colour tells which way the pen went: what a picture of a letter leaves out.

Of all hues the channels of an inverted picture have the same sum: that is the ink, and the pen's
way in x and y are two other sums of them, so a picture made smaller loses no more of the way than
of the ink. As a picture it is what readers of pen strokes call a direction map (8-directional
features of Bai and Huo, 2005; the first terms of a path's signature, Graham, 2013).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.bitmap import stored_png

Codes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

WAYS = 240  # hues, 1.5 degrees apart; to the right is 0, down a quarter of them
DOT = WAYS  # the code of a pen that stood still
BLACK, PAPER = 0, 255  # where all ink is black, it needs but one code
REACH = 3.0  # pixels before and after, over which a way is taken: points lie on whole ones
FINE = 2**20  # parts of a pixel


@dataclass(slots=True, eq=False)
class Tracing:
    """A picture in ink that tells: (height, width) codes."""

    codes: Codes

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return self.codes.shape[1]

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return self.codes.shape[0]

    @property
    def content_id(self) -> str:
        """The sha256 of size and codes."""
        size = f"{self.width}x{self.height} traced\n".encode()
        return hashlib.sha256(size + self.codes.tobytes()).hexdigest()

    @property
    def png(self) -> bytes:
        """An indexed PNG in the colours of `palette`."""
        return stored_png(self.width, self.codes, palette().tobytes())


def palette() -> Codes:
    """Return (256, 3): red, green and blue of every code."""
    angle = 2 * math.pi * (np.arange(WAYS)[:, None] / WAYS + np.arange(3) / 3)
    colours = np.full((256, 3), 255, np.uint8)
    colours[:WAYS] = np.round(127.5 * (1 - np.cos(angle)))
    colours[DOT] = 127
    return colours


def codes(points: Floats, begins: Ints, ends: Ints, strokes: Ints) -> Codes:
    """Return the code of each line from one point to another.

    `points` is (2, n) in pixels, y down; a line joins `begins` and `ends`, which are places in it
    and neighbours of one stroke or, for a dot, the same. `strokes` is where those begin.
    """
    # Lengths are rounded, so that their sums are exact: no letter depends on those before it.
    steps = np.round(np.hypot(*np.diff(points, axis=1)) * FINE) / FINE
    lasts = np.append(strokes[1:], points.shape[1]) - 1
    steps[lasts[:-1]] = 4 * REACH  # strokes are apart, so that no look from one meets another
    arc = np.append(0, steps.cumsum())
    middle = (arc[begins] + arc[ends]) / 2
    stroke = np.searchsorted(strokes, begins, side="right") - 1
    ahead = np.minimum(middle + REACH, arc[lasts[stroke]])
    behind = np.maximum(middle - REACH, arc[strokes[stroke]])
    dx, dy = (np.interp(ahead, arc, along) - np.interp(behind, arc, along) for along in points)
    way = np.round(np.arctan2(dy, dx) * WAYS / (2 * math.pi)).astype(np.int64) % WAYS
    return np.where(np.hypot(dx, dy) * FINE < 1, DOT, way).astype(np.uint8)
