"""Plots of a training show what was measured, and mark stages and suggested learning rates."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.charts.figure import BLUE, GREEN, GREY, ORANGE
from pipeline.train.plots import draw_finder, draw_history
from pipeline.train.stage import HISTORY_HEADER
from tests.drawings import drawn_in

pytestmark = pytest.mark.filterwarnings("error")

CURVE = [["stage_1", 10.0**power, 3.0 + power**2] for power in range(-6, 1)]


def history(path: Path, *rows: list[object]) -> Path:
    draw_history(path, HISTORY_HEADER, rows)
    return path


def test_a_history_shows_only_what_was_measured(tmp_path: Path) -> None:
    both = [[n, "stage_1", 2 - n / 9, 1.8 - n / 10, n / 9, n / 10] for n in range(1, 9)]
    watched = history(tmp_path / "watched.png", *both)
    unwatched = history(tmp_path / "unwatched.png", *([*row[:3], None, None, None] for row in both))
    nothing = history(tmp_path / "nothing.png")
    for colour in (ORANGE, GREEN):  # the legend has all colours
        assert drawn_in(watched, colour) > 2 * drawn_in(unwatched, colour)
        assert drawn_in(unwatched, colour) == drawn_in(nothing, colour)
    assert drawn_in(watched, BLUE) > drawn_in(unwatched, BLUE) > drawn_in(nothing, BLUE)


def test_a_line_parts_the_stages(tmp_path: Path) -> None:
    rows = [[n, "stage_1", 2.0, 1.5, 0.5, 0.4] for n in range(1, 5)]
    one = history(tmp_path / "one.png", *rows)
    rows[2][1] = rows[3][1] = "stage_2"
    two = history(tmp_path / "two.png", *rows)
    assert drawn_in(two, GREY) > drawn_in(one, GREY) + 200


def test_a_dot_marks_the_suggested_rate_on_the_curve(tmp_path: Path) -> None:
    blue = {}
    rates: tuple[float | None, ...] = (None, 1e-3, 1e-1)
    for suggested in rates:
        draw_finder(tmp_path / f"{suggested}.png", CURVE, {"stage_1": suggested})
        blue[suggested] = drawn_in(tmp_path / f"{suggested}.png", BLUE)
    assert blue[1e-3] > blue[None] + 50 < blue[1e-1]
    assert (tmp_path / "0.001.png").read_bytes() != (tmp_path / "0.1.png").read_bytes()


def test_each_stage_has_a_curve_and_no_curve_is_an_empty_plot(tmp_path: Path) -> None:
    draw_finder(tmp_path / "one.png", CURVE)
    draw_finder(tmp_path / "two.png", [*CURVE, *(["stage_2", *row[1:2], 5.0] for row in CURVE)])
    draw_finder(tmp_path / "none.png", [])
    assert drawn_in(tmp_path / "one.png", ORANGE) == 0 < drawn_in(tmp_path / "two.png", ORANGE)
    assert drawn_in(tmp_path / "none.png", BLUE) == 0 < drawn_in(tmp_path / "one.png", BLUE)


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    rows = [[1, "stage_1", 2.0, None, None, None], [2, "stage_2", 1.5, 1.2, 0.5, 0.4]]
    for draw in (lambda path: history(path, *rows), lambda path: draw_finder(path, CURVE)):
        draw(tmp_path / "a.png")
        draw(tmp_path / "b.png")
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
