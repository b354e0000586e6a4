"""Pen strokes as bi-level pictures, bit for bit as HP Labs drew theirs. Pure.

HP drew with Java2D: `BasicStroke(2)` (square caps), a `drawLine` for every two neighbouring
points, no antialiasing, default stroke normalisation. Java then moves a vertex to n + 0.25 and
gives ink to a pixel when its centre, n + 0.5, lies in the square-capped line. So what a line inks
depends on its (dx, dy) alone, and on no rounding: no pixel's centre lies on an edge. This equals
Java for every line and pen of 2 pixels or more; for 1 pixel Java has another rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.bitmap import Bitmap
from pipeline.errors import Rejected

Ints = npt.NDArray[np.int64]
Strokes = Sequence[npt.NDArray[np.float64]]  # (n, 2) each, in tablet points

MARGIN = 5  # white pixels around the vertices, as HP left
MAX_SIDE = 4096  # pixels
MAX_INK = 20_000_000  # pixels inked, one that is crossed twice counting twice
NEAR = 31  # lines up to so many pixels in x and in y are tabled; pens seldom move further


@dataclass(frozen=True, slots=True)
class Canvas:
    """A letter whose vertices are whole pixels: what is left to do is to draw it."""

    width: int
    height: int
    starts: Ints  # (lines, 2): x, y
    ends: Ints  # (lines, 2)


def place(
    strokes: Strokes, points_per_inch: tuple[float, float], dpi: float, y_axis: str = "down"
) -> Canvas:
    """Put strokes on whole pixels, the least x and y at `MARGIN`.

    A stroke of one point is a dot. Raises Rejected: "no-ink", "too-many-pixels".
    """
    strokes = [stroke for stroke in strokes if len(stroke)]
    if not strokes:
        raise Rejected("no-ink", "no pen-down point")
    points = strokes[0] if len(strokes) == 1 else np.concatenate(strokes)
    if y_axis == "up":
        points = points * (1.0, -1.0)
    low = points.min(axis=0)
    pixels = np.floor((points - low) * dpi / np.array(points_per_inch))
    right, bottom = pixels.max(axis=0)
    if not max(right, bottom) < MAX_SIDE - 2 * MARGIN:
        side = f"{max(right, bottom):.3g}"
        raise Rejected("too-many-pixels", f"{side} pixels on a side, at most {MAX_SIDE}")
    vertices = pixels.astype(np.int64) + MARGIN
    starts, ends = vertices[:-1], vertices[1:]
    if len(strokes) > 1 or len(vertices) == 1:
        starts, ends = _lines(vertices, np.array([len(stroke) for stroke in strokes]))
    return Canvas(int(right) + 2 * MARGIN, int(bottom) + 2 * MARGIN, starts, ends)


def _lines(vertices: Ints, lengths: Ints) -> tuple[Ints, Ints]:
    """Return the lines within strokes, none between them; a lone point is a line to itself."""
    lasts = lengths.cumsum() - 1
    is_start = np.ones(len(vertices), np.bool_)
    is_start[lasts[lengths > 1]] = False
    starts = is_start.nonzero()[0]
    ends = starts + 1
    ends[np.isin(starts, lasts)] -= 1
    return vertices[starts], vertices[ends]


def render(
    strokes: Strokes,
    points_per_inch: tuple[float, float],
    dpi: float = 250,
    pen_width: int = 2,
    y_axis: str = "down",
) -> Bitmap:
    """Draw strokes at their natural size: the extent in pixels, and `MARGIN` on every side.

    Raises Rejected as `place` and `Pen.draw` do.
    """
    return Pen(pen_width).draw([place(strokes, points_per_inch, dpi, y_axis)])[0]


class Pen:
    """A pen of a width in pixels, with the ink of all short lines tabled."""

    def __init__(self, width: int) -> None:
        self.width = width
        side = np.arange(-NEAR, NEAR + 1)
        dx, dy = (grid.ravel() for grid in np.meshgrid(side, side))
        self._counts, self._x, self._y = _pixels(dx, dy, width)
        self._firsts = self._counts.cumsum() - self._counts

    def draw(self, letters: Sequence[Canvas]) -> list[Bitmap]:
        """Draw letters, all in one scatter; memory is the widest times all heights, and the ink.

        Raises Rejected "too-many-pixels" when the lines ink more than `MAX_INK` together.
        """
        if not letters:
            return []
        starts = np.concatenate([letter.starts for letter in letters])
        moves = np.concatenate([letter.ends for letter in letters]) - starts
        tops = np.array([0, *(letter.height for letter in letters)]).cumsum()
        pitch = -(-max(letter.width for letter in letters) // 8) * 8
        rows = starts[:, 1] + tops[:-1].repeat([len(letter.starts) for letter in letters])
        white = np.ones(int(tops[-1]) * pitch, np.uint8)
        self._ink(white, rows * pitch + starts[:, 0], moves, pitch)
        packed = np.packbits(white).reshape(-1, pitch // 8)
        return [
            Bitmap(letter.width, packed[top : top + letter.height, : -(-letter.width // 8)])
            for letter, top in zip(letters, tops.tolist(), strict=False)
        ]

    def _ink(self, white: npt.NDArray[np.uint8], places: Ints, moves: Ints, pitch: int) -> None:
        """Set to 0 the pixels of lines that begin at flat `places` and go by `moves`."""
        is_near = (np.abs(moves) <= NEAR).all(axis=1)
        if not is_near.all():
            far = moves[~is_near]
            _check_ink(
                float(np.abs(far).sum(axis=1).max() + 4 * self.width) * self.width * len(far)
            )
            counts, x, y = _pixels(far[:, 0], far[:, 1], self.width)
            white[places[~is_near].repeat(counts) + y * pitch + x] = 0
            places, moves = places[is_near], moves[is_near]
        keys = (moves[:, 1] + NEAR) * (2 * NEAR + 1) + moves[:, 0] + NEAR
        counts = self._counts[keys]
        total = int(counts.sum())
        _check_ink(total)
        offsets = self._y * pitch + self._x
        # The pixels of line i lie in the table from firsts[i] on, and in the result after those
        # of the lines before it.
        shifts = self._firsts[keys] - (counts.cumsum() - counts)
        white[offsets[np.arange(total) + shifts.repeat(counts)] + places.repeat(counts)] = 0


def _check_ink(pixels: float) -> None:
    if pixels > MAX_INK:
        raise Rejected("too-many-pixels", f"lines that ink {pixels:.3g} pixels, at most {MAX_INK}")


def _pixels(dx: Ints, dy: Ints, width: int) -> tuple[Ints, Ints, Ints]:
    """Return, for lines from (0, 0) to (dx, dy), how many pixels each inks, and all their x and y.

    A pixel's centre is at (x + 0.25, y + 0.25) from the line's start. Along the line it may lie
    half a width before the start or after the end, and half a width to either side.
    """
    half = width / 2
    length = np.hypot(dx, dy)
    is_dot = length == 0  # Java draws it as if it went to the right
    ux, uy = (
        np.where(is_dot, 1.0, dx / np.where(is_dot, 1, length)),
        dy / np.where(is_dot, 1, length),
    )
    reach = int(np.ceil(half * 1.5)) + 1
    heights = np.abs(dy) + 2 * reach + 1
    line = np.arange(len(dx)).repeat(heights)
    y = np.arange(len(line)) - (heights.cumsum() - heights)[line] + np.minimum(dy, 0)[line] - reach
    ux, uy, length = ux[line], uy[line], length[line]
    across = _between(uy, -ux * (y + 0.25), -half, half)
    along = _between(ux, uy * (y + 0.25), -half, length + half)
    first = np.ceil(np.maximum(across[0], along[0]) - 0.25)
    last = np.floor(np.minimum(across[1], along[1]) - 0.25)
    widths = np.maximum(last - first + 1, 0).astype(np.int64)
    x = np.arange(int(widths.sum())) - (
        widths.cumsum() - widths - first.astype(np.int64) * (widths > 0)
    ).repeat(widths)
    counts = np.bincount(line, weights=widths, minlength=len(dx)).astype(np.int64)
    return counts, x, y.repeat(widths)


def _between(
    slope: npt.NDArray[np.float64],
    offset: npt.NDArray[np.float64],
    low: float | npt.NDArray[np.float64],
    high: float | npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return from where to where x fulfils low <= slope * x + offset <= high."""
    is_flat = slope == 0
    safe = np.where(is_flat, 1.0, slope)
    a, b = (low - offset) / safe, (high - offset) / safe
    fulfils = (low <= offset) & (offset <= high)
    first = np.where(is_flat, np.where(fulfils, -1e9, 1e9), np.minimum(a, b))
    last = np.where(is_flat, np.where(fulfils, 1e9, -1e9), np.maximum(a, b))
    return first, last
