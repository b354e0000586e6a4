"""Letters from a pad are drawn as the archive's letters are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import Rejected
from pipeline.dataset.pen_settings import PenSettings
from pipeline.pages.serve.strokes import Pen

Letter = list[list[tuple[int, int]]]
COORDINATE = st.integers(-4000, 4000)
LETTERS = st.lists(
    st.lists(st.tuples(COORDINATE, COORDINATE), min_size=1, max_size=6), min_size=1, max_size=4
)


@given(LETTERS, st.sampled_from([0.25, 1, 2, 64]), COORDINATE, COORDINATE)
@settings(max_examples=60)
def test_without_a_resolution_neither_place_nor_size_matters(
    letter: Letter, scale: float, x: int, y: int
) -> None:
    points = np.concatenate([np.array(stroke) for stroke in letter])
    assume((points.max(0) > points.min(0)).any())
    pen = Pen(PenSettings(), 0.5)
    plain = pen.draw(letter, None)
    moved = pen.draw([[[px * scale + x, py * scale + y] for px, py in s] for s in letter], None)
    assert moved.content_id == plain.content_id
    assert max(plain.width, plain.height) - 10 in (124, 125)  # half an inch, rounded down


@given(LETTERS)
@settings(max_examples=30)
def test_a_letter_of_the_median_size_needs_no_resolution(letter: Letter) -> None:
    points = np.concatenate([np.array(stroke) for stroke in letter])
    extent = float((points.max(0) - points.min(0)).max())
    assume(extent > 0)
    pen = Pen(PenSettings(), 0.5)
    assert pen.draw(letter, None).content_id == pen.draw(letter, extent / 0.5).content_id


def test_the_size_is_the_median_of_the_samples() -> None:
    sizes = np.array([[60, 20], [30, 110], [35, 40]])
    assert Pen.of_samples(PenSettings(), sizes).size_in == 50 / 250
    for none in (None, sizes[:0]):
        assert Pen.of_samples(PenSettings(), none).size_in == 0.5


def test_a_single_dot_is_drawn_and_an_empty_stroke_is_not() -> None:
    assert Pen(PenSettings()).draw([[[7, 7]]], None).has_ink
    with pytest.raises(Rejected, match="no-ink"):
        Pen(PenSettings()).draw([[]], None)
