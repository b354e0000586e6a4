"""Plots of an evaluation show its errors, and have room for every name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.charts.figure import BLUE, ORANGE, RED
from pipeline.evaluate.plots import draw_calibration, draw_confusion, draw_most_confused, neighbours
from pipeline.model.metrics import Ints
from tests.drawings import drawn_in, size_of

pytestmark = pytest.mark.filterwarnings("error")  # matplotlib warns of a missing glyph

NAMES = [f"ḻkṣā {n}" for n in range(156)]
DARK = "#08306B"  # of a cell with the whole row
NONE, NO_INTS = np.zeros((0, 2)), np.zeros(0, np.int64)


def matrix(count: int, *errors: tuple[int, int, int]) -> Ints:
    """Return a confusion matrix of 50 samples a class, less and more `errors` in two cells."""
    found = np.eye(count, dtype=np.int64) * 50
    for actual, predicted, wrong in errors:
        found[actual, actual] -= wrong
        found[actual, predicted] += wrong
    return found


def test_a_confusion_matrix_is_dark_where_its_counts_are(tmp_path: Path) -> None:
    cases = {
        "right": matrix(4),
        "wrong": np.roll(matrix(4), 1, 0),
        "half": matrix(4, (0, 1, 25), (1, 0, 25)),
        "empty": np.zeros((4, 4), np.int64),
    }
    dark = {}
    for name, counts in cases.items():
        draw_confusion(tmp_path / f"{name}.png", counts, NAMES[:4], "test set")
        dark[name] = drawn_in(tmp_path / f"{name}.png", DARK)
    assert dark["right"] == pytest.approx(dark["wrong"], rel=0.1)
    assert dark["half"] == pytest.approx(dark["right"] / 2, rel=0.1), "two of four rows"
    assert dark["empty"] == 0
    assert (tmp_path / "right.png").read_bytes() != (tmp_path / "wrong.png").read_bytes()


def test_a_confusion_matrix_has_room_for_many_names(tmp_path: Path) -> None:
    for count in (2, 156):
        draw_confusion(tmp_path / "c.png", matrix(count, (0, 1, 7)), NAMES[:count], "test set")
        width, _ = size_of(tmp_path / "c.png")
        assert width / count >= 12, "pixels that a line of text needs"
        assert width < 5000
        assert (tmp_path / "c.png").stat().st_size < 300_000


def test_the_most_confused_pairs_are_bars_as_long_as_their_counts(tmp_path: Path) -> None:
    path, red = tmp_path / "c.png", []
    for errors in [(), ((0, 1, 8), (1, 2, 8)), ((0, 1, 8), (1, 2, 2))]:
        draw_most_confused(path, matrix(3, *errors), NAMES[:3], "Most confused classes")
        red.append(drawn_in(path, RED))
    assert red[0] == 0
    assert red[2] == pytest.approx(red[1] * 10 / 16, rel=0.1)


def test_many_classes_show_a_readable_part_of_the_matrix_beside_the_pairs(tmp_path: Path) -> None:
    for count in (20, 156):
        draw_most_confused(
            tmp_path / f"{count}.png", matrix(count, (0, 1, 7)), NAMES[:count], "test set"
        )
    assert drawn_in(tmp_path / "20.png", DARK) == 0 < drawn_in(tmp_path / "156.png", DARK)
    assert size_of(tmp_path / "20.png")[0] < size_of(tmp_path / "156.png")[0] < 1800
    draw_most_confused(tmp_path / "none.png", matrix(156), NAMES, "test set")
    assert drawn_in(tmp_path / "none.png", DARK) == 0, "no pair, so no matrix of pairs"


def test_calibration_is_two_curves_and_a_histogram(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sure, actual = rng.dirichlet(np.ones(4), 200), rng.integers(0, 4, 200)
    draw_calibration(tmp_path / "two.png", sure, np.square(sure) / 2, actual)
    draw_calibration(tmp_path / "none.png", NONE, NONE, NO_INTS)
    for colour in (BLUE, ORANGE):
        assert drawn_in(tmp_path / "none.png", colour) == 0 < drawn_in(tmp_path / "two.png", colour)
    assert drawn_in(tmp_path / "two.png", BLUE, alpha=0.75) > 1000, "bars of the histogram"


@pytest.mark.parametrize("name", ["$x$", "$\\frac$", "<script>", "_^"])
def test_names_are_drawn_as_they_are(tmp_path: Path, name: str) -> None:
    for shown in (name, f"{name}s"):
        draw_most_confused(tmp_path / f"{len(shown)}.png", matrix(2, (0, 1, 7)), [shown, "b"], "t")
    short, long = sorted(tmp_path.iterdir())
    assert size_of(short)[0] < size_of(long)[0], "every letter takes room"


def test_classes_that_are_confused_are_neighbours() -> None:
    wrong = np.diag(np.full(30, 9))
    for a, b in ((2, 21), (7, 14), (21, 9)):
        wrong[a, b] = wrong[b, a] = 5
    order = neighbours(wrong, 5).tolist()
    assert sorted(order) == [2, 7, 9, 14, 21]
    assert abs(order.index(7) - order.index(14)) == 1
    assert {abs(order.index(21) - order.index(other)) for other in (2, 9)} <= {1, 2}
    assert neighbours(np.eye(3, dtype=np.int64), 5).size == 0
