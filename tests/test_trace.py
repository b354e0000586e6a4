"""Ink that tells which way the pen went."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.bitmap import Bitmap
from pipeline.errors import Rejected
from pipeline.render import MARGIN, NEAR, Outline, Renderer
from pipeline.trace import DOT, PAPER, WAYS, Tracing, palette

PLAIN = Renderer(dpi=100)  # a hundred points an inch, too: a point is a pixel
Stroke = Sequence[tuple[float, float]]


def outline(*strokes: Stroke) -> Outline:
    return Outline([np.array(stroke, float).reshape(-1, 2) for stroke in strokes], (100, 100))


def trace(*strokes: Stroke) -> Tracing:
    (tracing,) = PLAIN.trace([outline(*strokes)])
    assert isinstance(tracing, Tracing), tracing
    return tracing


def way(tracing: Tracing, x: int, y: int) -> int:
    """Return the code at a place, counted from the least vertex."""
    return int(tracing.codes[y + MARGIN, x + MARGIN])


def steps(*corners: tuple[float, float]) -> Stroke:
    """Return a stroke through corners, a point every two pixels or so."""
    found = [corners[0]]
    for (x0, y0), (x1, y1) in itertools.pairwise(corners):
        count = int(max(abs(x1 - x0), abs(y1 - y0))) // 2
        found += [(x0 + (x1 - x0) * n / count, y0 + (y1 - y0) * n / count) for n in range(1, count)]
        found.append((x1, y1))
    return found


point = st.tuples(st.integers(-300, 300), st.integers(-300, 300))
letters = st.lists(st.lists(st.lists(point, max_size=5), max_size=4), max_size=8)


@given(letters)
@settings(deadline=None)
def test_the_same_pixels_are_inked_and_no_letter_depends_on_its_neighbours(
    batch: list[list[Stroke]],
) -> None:
    outlines = [outline(*strokes) for strokes in batch]
    together = PLAIN.trace(outlines)
    for one, black, letter in zip(together, PLAIN.draw(outlines), outlines, strict=True):
        (alone,) = PLAIN.trace([letter])
        if isinstance(black, Bitmap):
            assert isinstance(one, Tracing) and isinstance(alone, Tracing)
            assert np.array_equal(one.codes == PAPER, black.is_white)
            assert np.array_equal(one.codes, alone.codes)
        else:
            assert isinstance(one, Rejected) and one.reason == black.reason


def test_hue_is_the_way_and_the_way_back_is_opposite() -> None:
    square = trace(steps((0, 0), (60, 0), (60, 60), (0, 60), (0, 0)))
    places = ((30, 0), (60, 30), (30, 60), (0, 30))  # on each side, the middle
    ways = [way(square, x, y) for x, y in places]
    assert ways == [0, WAYS // 4, WAYS // 2, 3 * WAYS // 4]
    back = trace(steps((0, 0), (0, 60), (60, 60), (60, 0), (0, 0)))
    assert [way(back, x, y) for x, y in places] == [(one + WAYS // 2) % WAYS for one in ways]


def test_a_way_is_of_one_stroke_alone() -> None:
    corner = trace([(0, 0), (2, 0)], [(2, 0), (2, 2)])
    assert way(corner, 0, -1) == 0
    assert way(corner, 2, 2) == WAYS // 4


def test_a_later_line_covers_an_earlier_one() -> None:
    right, down = steps((0, 10), (20, 10)), steps((10, 0), (10, 20))
    assert way(trace(right, down), 10, 10) == WAYS // 4
    assert way(trace(down, right), 10, 10) == 0
    far = [(-NEAR - 5, 10), (NEAR + 25, 10)]  # no line of the table
    assert way(trace(far, down), NEAR + 5 + 10, 10) == WAYS // 4
    assert way(trace(down, far), NEAR + 5 + 10, 10) == 0


@pytest.mark.parametrize("stroke", [[(5, 5)], [(9, 9), (9, 9)]])
def test_a_pen_that_stood_still_tells_so(stroke: Stroke) -> None:
    codes = trace(stroke).codes
    assert set(np.unique(codes)) == {DOT, PAPER} and (codes == DOT).sum() == 4


def test_all_ink_is_equally_dark_and_every_code_has_its_colour() -> None:
    colours = palette()
    ink = (255 - colours[: DOT + 1].astype(int)).sum(1)
    assert abs(ink - 382.5).max() <= 2
    assert len(np.unique(colours[: DOT + 1], axis=0)) == DOT + 1
    assert (colours[PAPER] == 255).all()
    assert (255 - colours[: DOT + 1]).max(1).min() >= 128  # what trimming takes for ink


def test_it_is_kept_as_a_picture_of_those_colours() -> None:
    tracing = trace(steps((0, 0), (33, 21)), [(50, 3)])
    with Image.open(io.BytesIO(tracing.png)) as image:
        assert image.mode == "P" and image.size == (tracing.width, tracing.height)
        assert np.array_equal(np.asarray(image.convert("RGB")), palette()[tracing.codes])
    other = trace(steps((33, 21), (0, 0)), [(50, 3)])
    assert other.content_id != tracing.content_id
    assert np.array_equal(other.codes == PAPER, tracing.codes == PAPER)
