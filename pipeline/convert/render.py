"""Pen strokes as bi-level pictures, bit for bit as HP Labs drew theirs. Pure.

HP drew with Java2D: `BasicStroke(2)` (square caps), a `drawLine` for every two neighbouring
points, no antialiasing, default stroke normalisation. Java then moves a vertex to n + 0.25 and
gives ink to a pixel when its centre, n + 0.5, lies in the square-capped line. So what a line inks
depends on its (dx, dy) alone, and on no rounding: no pixel's centre lies on an edge. This equals
Java for every line and pen of 2 pixels or more; for 1 pixel Java has another rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import Rejected
from pipeline.images.bitmap import Bitmap

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

MARGIN = 5  # white pixels around the vertices, as HP left
MAX_SIDE = 4096  # pixels
MAX_INK = 20_000_000  # pixels inked, one that is crossed twice counting twice
CANVAS = 32_000_000  # pixels drawn on at once, a byte each
NEAR = 31  # lines up to so many pixels in x and in y are tabled; pens seldom move further


def margin_of(pen_width: int) -> int:
    """Return how many white pixels are around the vertices: a broad pen's caps reach further."""
    return max(MARGIN, pen_width)


class Outline(NamedTuple):
    """A letter as the pen wrote it: strokes of (n, 2) tablet points, and points per inch."""

    strokes: Sequence[Floats]
    points_per_inch: tuple[float, float]


class Renderer:
    """Draws at a resolution with a pen of a width in pixels; holds the ink of all short lines.

    A picture has the natural size of what was written: its extent in pixels, and `MARGIN` on
    every side (more for a pen of more than that). A stroke of one point is a dot.
    """

    def __init__(self, dpi: float = 250, pen_width: int = 2, y_axis: str = "down") -> None:
        self.dpi = dpi
        self.pen_width = pen_width
        self.y_axis = y_axis
        self.margin = margin_of(pen_width)
        side = np.arange(-NEAR, NEAR + 1)
        dx, dy = (grid.ravel() for grid in np.meshgrid(side, side))
        self._counts, self._x, self._y = _pixels(dx, dy, pen_width)
        self._firsts = self._counts.cumsum() - self._counts

    def draw(self, letters: Sequence[Outline]) -> list[Bitmap | Rejected]:
        """Draw many letters with few calls of numpy, whose cost is by the call.

        A letter that cannot be drawn gives Rejected: "no-ink", "too-many-pixels".
        """
        drawn: list[Bitmap | Rejected] = [Rejected("no-ink", "no pen-down point")] * len(letters)
        inked = [n for n, letter in enumerate(letters) if any(map(len, letter.strokes))]
        if inked:
            page = _lay_out([letters[n] for n in inked], self)
            for n in (~page.is_sound).nonzero()[0].tolist():
                drawn[inked[n]] = Rejected("too-many-pixels", page.excess(n))
            for run in page.runs():
                for n, bitmap in zip(run, self._draw(page, run), strict=True):
                    drawn[inked[n]] = bitmap
        return drawn

    def _draw(self, page: _Page, run: range) -> list[Bitmap]:
        """Draw neighbouring letters, one under the other, in one scatter."""
        widths, heights = page.sizes[:, run.start : run.stop]
        tops = np.append(0, heights.cumsum())
        pitch = -(-int(widths.max()) // 8) * 8
        first, *_, last = page.first_lines[run.start : run.stop + 1].tolist()
        lines = slice(first, last)
        x, y = page.starts[:, lines]
        dx, dy = page.moves[:, lines]
        places = (y + tops[:-1].repeat(np.diff(page.first_lines[run.start : run.stop + 1]))) * pitch
        white = np.ones(int(tops[-1]) * pitch, np.uint8)
        self._ink(white, places + x, dx, dy, pitch)
        packed = np.packbits(white).reshape(-1, pitch // 8)
        return [
            Bitmap(width, packed[top : top + height, : -(-width // 8)])
            for top, width, height in zip(
                tops.tolist(), widths.tolist(), heights.tolist(), strict=False
            )
        ]

    def _ink(
        self, white: npt.NDArray[np.uint8], places: Ints, dx: Ints, dy: Ints, pitch: int
    ) -> None:
        """Set to 0 the pixels of lines that begin at flat `places` and go by `dx` and `dy`."""
        is_near = (abs(dx) <= NEAR) & (abs(dy) <= NEAR)
        if not is_near.all():
            counts, x, y = _pixels(dx[~is_near], dy[~is_near], self.pen_width)
            white[places[~is_near].repeat(counts) + y * pitch + x] = 0
            places, dx, dy = places[is_near], dx[is_near], dy[is_near]
        keys = (dy + NEAR) * (2 * NEAR + 1) + dx + NEAR
        counts = self._counts[keys]
        offsets = self._y * pitch + self._x
        # The pixels of line i lie in the table from firsts[i] on, and in the result after those
        # of the lines before it.
        shifts = self._firsts[keys] - (counts.cumsum() - counts)
        white[offsets[np.arange(counts.sum()) + shifts.repeat(counts)] + places.repeat(counts)] = 0


class _Page(NamedTuple):
    """Letters on whole pixels, each with its least x and y at `MARGIN`."""

    sizes: Ints  # (2, letters): widths, heights
    ink: Floats  # (letters,): at most so many pixels inked
    starts: Ints  # (2, lines): x, y
    moves: Ints  # (2, lines)
    first_lines: Ints  # (letters + 1,): where the lines of a letter begin

    @property
    def is_sound(self) -> npt.NDArray[np.bool_]:
        """(letters,): which are within bounds."""
        return (self.sizes <= MAX_SIDE).all(axis=0) & (self.ink <= MAX_INK)

    def excess(self, letter: int) -> str:
        """Say how a letter is beyond bounds."""
        if (self.sizes[:, letter] > MAX_SIDE).any():
            return f"a side of more than {MAX_SIDE} pixels"
        return f"lines that ink {self.ink[letter]:.3g} pixels, at most {MAX_INK}"

    def runs(self) -> Iterator[range]:
        """Give runs of letters that can be drawn on one canvas; letters beyond bounds are in none.

        Memory is the widest times all heights, and the ink.
        """
        first = width = height = 0
        ink = 0.0
        for n, (size, letter_ink, sound) in enumerate(
            zip(self.sizes.T.tolist(), self.ink.tolist(), self.is_sound.tolist(), strict=True)
        ):
            width, height, ink = max(width, size[0]), height + size[1], ink + letter_ink
            if sound and width * height <= CANVAS and ink <= MAX_INK:
                continue
            if first < n:
                yield range(first, n)
            first = n if sound else n + 1
            (width, height), ink = (size, letter_ink) if sound else ((0, 0), 0.0)
        if first < len(self.ink):
            yield range(first, len(self.ink))


def _lay_out(letters: Sequence[Outline], renderer: Renderer) -> _Page:
    """Put letters on whole pixels; every one has a point."""
    strokes = [stroke for letter in letters for stroke in letter.strokes if len(stroke)]
    points = np.ascontiguousarray(np.concatenate(strokes).T)
    if renderer.y_axis == "up":
        points[1] *= -1
    counts = np.array([sum(map(len, letter.strokes)) for letter in letters])
    firsts = counts.cumsum() - counts
    per_inch = np.array([letter.points_per_inch for letter in letters]).T
    low = np.minimum.reduceat(points, firsts, axis=1)
    extents = np.maximum.reduceat(points, firsts, axis=1) - low
    sizes = np.minimum(np.floor(extents * renderer.dpi / per_inch), MAX_SIDE).astype(np.int64)
    pixels = (points - low.repeat(counts, axis=1)) * renderer.dpi / per_inch.repeat(counts, axis=1)
    vertices = np.minimum(np.floor(pixels), MAX_SIDE).astype(np.int64) + renderer.margin
    # A line goes from every point to the next of its stroke; a lone point is a line to itself.
    lengths = np.array([len(stroke) for stroke in strokes])
    lasts = lengths.cumsum() - 1
    is_start = np.ones(len(vertices[0]), np.bool_)
    is_start[lasts[lengths > 1]] = False
    line_starts = is_start.nonzero()[0]
    line_ends = line_starts + 1
    line_ends[np.searchsorted(line_starts, lasts[lengths == 1])] -= 1
    starts = vertices[:, line_starts]
    moves = vertices[:, line_ends] - starts
    first_lines = np.append(np.searchsorted(line_starts, firsts), len(line_starts))
    ink = (abs(moves[0]) + abs(moves[1]) + 4.0 * renderer.pen_width) * renderer.pen_width
    return _Page(
        sizes + 2 * renderer.margin,
        np.add.reduceat(ink, first_lines[:-1]),
        starts,
        moves,
        first_lines,
    )


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
