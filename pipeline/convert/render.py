"""Draw pen strokes as bi-level images, bit for bit as HP Labs drew theirs.

HP drew with Java2D: `BasicStroke(2)` (square caps), one `drawLine` for each pair of neighbouring
points, no antialiasing, default stroke normalisation. That normalisation moves each coordinate n of
a point, a whole number, to n + 0.25. Java inks a pixel if the pixel's centre, n + 0.5, lies in the
square-capped line. The ink of a line therefore depends on its (dx, dy) only. Rounding has no
effect, because no centre lies on an edge. The result equals Java's for every line and every pen
width of 2 pixels or more. For a width of 1 pixel, Java uses a different rule.
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
MAX_INK = 20_000_000  # pixels inked; a pixel that two lines cross counts twice
CANVAS = 32_000_000  # pixels drawn together, one byte each
NEAR = 31  # pixels in x and y: shorter lines have a table entry; few lines are longer


def margin_of(pen_width: int) -> int:
    """Return the number of white pixels around the vertices; the caps of a broad pen need more."""
    return max(MARGIN, pen_width)


class Outline(NamedTuple):
    """A letter as the pen wrote it: strokes of (n, 2) tablet points, and points per inch."""

    strokes: Sequence[Floats]
    points_per_inch: tuple[float, float]


class Renderer:
    """Draws letters at `dpi` with a pen of `pen_width` pixels; has a table of short lines' pixels.

    An image has the letter's natural size: its extent in pixels, plus `margin_of(pen_width)` on
    every side. A stroke of one point is a dot.
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
        """Return the image of each letter, or Rejected ("no-ink", "too-many-pixels").

        Draws many letters with a few calls to numpy, because each call has a fixed cost.
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
        """Draw consecutive letters on one canvas, one below the other, in one numpy assignment."""
        widths, heights = page.sizes[:, run.start : run.stop]
        tops = np.append(0, heights.cumsum())
        pitch = -(-int(widths.max()) // 8) * 8
        first, *_, last = page.first_lines[run.start : run.stop + 1].tolist()
        lines = slice(first, last)
        x, y = page.starts[:, lines]
        dx, dy = page.moves[:, lines]
        origins = (
            y + tops[:-1].repeat(np.diff(page.first_lines[run.start : run.stop + 1]))
        ) * pitch
        white = np.ones(int(tops[-1]) * pitch, np.uint8)
        self._ink(white, origins + x, dx, dy, pitch)
        packed = np.packbits(white).reshape(-1, pitch // 8)
        return [
            Bitmap(width, packed[top : top + height, : -(-width // 8)])
            for top, width, height in zip(
                tops.tolist(), widths.tolist(), heights.tolist(), strict=False
            )
        ]

    def _ink(
        self, white: npt.NDArray[np.uint8], origins: Ints, dx: Ints, dy: Ints, pitch: int
    ) -> None:
        """Set the pixels of lines to 0; each line starts at a flat index and moves by (dx, dy)."""
        is_near = (abs(dx) <= NEAR) & (abs(dy) <= NEAR)
        if not is_near.all():
            counts, x, y = _pixels(dx[~is_near], dy[~is_near], self.pen_width)
            white[origins[~is_near].repeat(counts) + y * pitch + x] = 0
            origins, dx, dy = origins[is_near], dx[is_near], dy[is_near]
        keys = (dy + NEAR) * (2 * NEAR + 1) + dx + NEAR
        counts = self._counts[keys]
        offsets = self._y * pitch + self._x
        # In the table, the pixels of line i begin at firsts[i]. In the result, they follow
        # the pixels of the earlier lines.
        shifts = self._firsts[keys] - (counts.cumsum() - counts)
        white[offsets[np.arange(counts.sum()) + shifts.repeat(counts)] + origins.repeat(counts)] = 0


class _Page(NamedTuple):
    """Letters with whole-number coordinates, shifted so that the smallest are at the margin."""

    sizes: Ints  # (2, letters): widths, heights
    ink: Floats  # (letters,): an upper bound of the pixels inked
    starts: Ints  # (2, lines): x, y
    moves: Ints  # (2, lines)
    first_lines: Ints  # (letters + 1,): the index of each letter's first line

    @property
    def is_sound(self) -> npt.NDArray[np.bool_]:
        """Return whether each letter is within the limits, as (letters,) booleans."""
        return (self.sizes <= MAX_SIDE).all(axis=0) & (self.ink <= MAX_INK)

    def excess(self, letter: int) -> str:
        """Return the limit that a letter exceeds."""
        if (self.sizes[:, letter] > MAX_SIDE).any():
            return f"a side of more than {MAX_SIDE} pixels"
        return f"lines that ink {self.ink[letter]:.3g} pixels, at most {MAX_INK}"

    def runs(self) -> Iterator[range]:
        """Yield runs of letters that fit on one canvas; letters beyond the limits are in none.

        A canvas has two limits: its area (greatest width times sum of heights), and its ink.
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
    """Return the letters with whole-number coordinates; each must have at least one point."""
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
    # A line joins each point of a stroke to the next; a single point is a line to itself.
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
    """Return the pixels of lines from (0, 0) to (dx, dy): their count for each line, and x and y.

    A pixel's centre is at (x + 0.25, y + 0.25) from the line's start. A pixel is inked if its
    centre lies in the rectangle around the line that reaches half a width beyond each end and to
    each side.
    """
    half = width / 2
    length = np.hypot(dx, dy)
    is_dot = length == 0  # Java draws a dot as a line to the right
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
    """Return the least and greatest x with low <= slope * x + offset <= high."""
    is_flat = slope == 0
    safe = np.where(is_flat, 1.0, slope)
    a, b = (low - offset) / safe, (high - offset) / safe
    holds = (low <= offset) & (offset <= high)
    first = np.where(is_flat, np.where(holds, -1e9, 1e9), np.minimum(a, b))
    last = np.where(is_flat, np.where(holds, 1e9, -1e9), np.maximum(a, b))
    return first, last
