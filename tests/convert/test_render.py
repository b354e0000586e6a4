"""The renderer: images equal HP's bit for bit, whatever other letters are in the batch."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.convert.render import CANVAS, MARGIN, MAX_INK, MAX_SIDE, NEAR, Outline, Renderer
from pipeline.convert.unipen import parse
from pipeline.core.errors import Rejected
from pipeline.images.bitmap import Bitmap

PLAIN = Renderer(dpi=100)  # a hundred points an inch, too: a point is a pixel


def outline(*strokes: list[tuple[float, float]], per_inch: float = 100) -> Outline:
    return Outline([np.array(stroke, float).reshape(-1, 2) for stroke in strokes], (per_inch,) * 2)


def draw(*strokes: list[tuple[float, float]], renderer: Renderer = PLAIN) -> Bitmap:
    (bitmap,) = renderer.draw([outline(*strokes)])
    assert isinstance(bitmap, Bitmap), bitmap
    return bitmap


def ink(bitmap: Bitmap) -> set[tuple[int, int]]:
    """Return the inked (x, y) relative to the least vertex."""
    y, x = (~bitmap.is_white).nonzero()
    return set(zip((x - MARGIN).tolist(), (y - MARGIN).tolist(), strict=True))


def test_real_letters_are_drawn_as_java_draws_them(shared: Path) -> None:
    names = sorted((shared / "unipen/lipitk-numerals").glob("usr*/*.txt"))
    assert len(names) == 160
    pens = [parse(name.read_bytes()) for name in names]
    drawn = Renderer().draw([Outline(pen.strokes, pen.points_per_inch or (0, 0)) for pen in pens])
    for name, bitmap in zip(names, drawn, strict=True):
        with Image.open(
            shared / f"unipen/render-golden/{name.parent.name}-{name.stem}.png"
        ) as image:
            assert isinstance(bitmap, Bitmap)
            assert np.array_equal(bitmap.is_white, np.asarray(image)), name


def by_definition(dx: int, dy: int, width: int) -> set[tuple[int, int]]:
    """Return the pixels near a line whose centre lies in it; checks each pixel."""
    half, length = width / 2, math.hypot(dx, dy)
    ux, uy = (dx / length, dy / length) if length else (1.0, 0.0)
    reach = width + 2
    return {
        (x, y)
        for x in range(min(0, dx) - reach, max(0, dx) + reach)
        for y in range(min(0, dy) - reach, max(0, dy) + reach)
        if abs((x + 0.25) * uy - (y + 0.25) * ux) <= half
        and -half <= (x + 0.25) * ux + (y + 0.25) * uy <= length + half
    }


move = st.integers(-NEAR - 9, NEAR + 9)  # lines with an entry in the table, and longer ones


@given(move, move, st.integers(2, 16))
@settings(deadline=None)
def test_a_line_inks_the_pixels_whose_centres_lie_in_it(dx: int, dy: int, width: int) -> None:
    bitmap = draw([(0, 0), (dx, dy)], renderer=Renderer(100, width))
    at = (min(0, dx), min(0, dy))  # the start, from the least vertex
    expected = {(x - at[0], y - at[1]) for x, y in by_definition(dx, dy, width)}
    beyond = max(0, width - MARGIN)  # a broad pen has a broader margin
    assert ink(bitmap) == {(x + beyond, y + beyond) for x, y in expected}


# Printed by Java 17's Graphics2D.drawLine with BasicStroke(2, CAP_SQUARE, JOIN_MITER).
JAVA = {
    (0, 0): "-1,-1 0,-1 -1,0 0,0",
    (3, 0): "-1,-1 0,-1 1,-1 2,-1 3,-1 -1,0 0,0 1,0 2,0 3,0",
}


@pytest.mark.parametrize("line", JAVA)
def test_lines_as_java_prints_them(line: tuple[int, int]) -> None:
    pixels = {tuple(map(int, pixel.split(","))) for pixel in JAVA[line].split()}
    assert ink(draw([(0, 0), line])) == pixels


def test_size_is_the_extent_and_a_margin() -> None:
    bitmap = draw([(100, 300), (140, 310)])
    assert (bitmap.width, bitmap.height) == (40 + 2 * MARGIN, 10 + 2 * MARGIN)


def test_points_become_pixels_by_the_floor() -> None:
    (bitmap,) = Renderer(dpi=250).draw([outline([(7, 0), (36, 19)], per_inch=2500)])
    assert isinstance(bitmap, Bitmap)
    assert (bitmap.width - 2 * MARGIN, bitmap.height - 2 * MARGIN) == (2, 1)


def test_x_and_y_have_their_own_resolution() -> None:
    (bitmap,) = PLAIN.draw([Outline([np.array([[0.0, 0.0], [100.0, 100.0]])], (100, 50))])
    assert isinstance(bitmap, Bitmap)
    assert (bitmap.width - 2 * MARGIN, bitmap.height - 2 * MARGIN) == (100, 200)


def test_no_line_joins_one_stroke_to_the_next() -> None:
    apart = draw([(0, 0), (10, 0)], [(30, 20), (40, 20)])
    second = {(x + 30, y + 20) for x, y in ink(draw([(0, 0), (10, 0)]))}
    assert ink(apart) == ink(draw([(0, 0), (10, 0)])) | second


def test_a_point_is_a_dot_and_an_empty_stroke_nothing() -> None:
    assert ink(draw([(5, 5)])) == {(-1, -1), (0, -1), (-1, 0), (0, 0)}
    assert ink(draw([(0, 0)], [], [(9, 9), (9, 9)])) == {
        (x + at, y + at) for at in (0, 9) for x in (-1, 0) for y in (-1, 0)
    }


def test_y_may_point_up() -> None:
    up = Renderer(dpi=100, y_axis="up")
    assert ink(draw([(0, 9), (4, 0)], renderer=up)) == ink(draw([(0, 0), (4, 9)]))


points = st.lists(st.tuples(st.integers(-300, 300), st.integers(-300, 300)), max_size=5)
letters = st.lists(st.lists(points, max_size=4), max_size=8)


@given(letters)
@settings(deadline=None)
def test_a_letter_does_not_depend_on_the_rest_of_the_batch(
    batch: list[list[list[tuple[float, float]]]],
) -> None:
    outlines = [outline(*strokes) for strokes in batch]
    together = PLAIN.draw(outlines)
    for one, letter in zip(together, outlines, strict=True):
        (alone,) = PLAIN.draw([letter])
        if isinstance(alone, Bitmap):
            assert isinstance(one, Bitmap) and one.content_id == alone.content_id
        else:
            assert isinstance(one, Rejected) and one.reason == alone.reason == "no-ink"


def test_a_batch_larger_than_the_canvas_is_drawn_in_runs() -> None:
    wide, small = [(0.0, 0.0), (3000.0, 3000.0)], [(0.0, 0.0), (5.0, 5.0)]
    batch = [outline(stroke) for stroke in (small, wide, wide, wide, wide, small)]
    assert CANVAS < 4 * 3010**2
    drawn = PLAIN.draw(batch)
    sizes = [bitmap.width for bitmap in drawn if isinstance(bitmap, Bitmap)]
    assert sizes == [15, 3010, 3010, 3010, 3010, 15]
    assert isinstance(drawn[5], Bitmap) and ink(draw(small)) == ink(drawn[5])


def test_only_letters_beyond_the_limits_are_rejected() -> None:
    far = [(0.0, 0.0), (1e15, 3.0)]
    scribble = [(float(3000 * (n % 2)), float(n % 7)) for n in range(MAX_INK // 3000)]
    small = [(0.0, 0.0), (5.0, 5.0)]
    batch = [outline(stroke) for stroke in (small, far, small, scribble, [], small)]
    drawn = PLAIN.draw(batch)
    assert [getattr(one, "reason", "drawn") for one in drawn] == [
        *("drawn", "too-many-pixels", "drawn", "too-many-pixels", "no-ink", "drawn")
    ]


def test_the_largest_side_is_drawn() -> None:
    assert draw([(0, 0), (MAX_SIDE - 2 * MARGIN, 0)]).width == MAX_SIDE
    (rejected,) = PLAIN.draw([outline([(0, 0), (MAX_SIDE - 2 * MARGIN + 1, 0)])])
    assert isinstance(rejected, Rejected)
