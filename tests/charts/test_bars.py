"""Bars are as long as their numbers, and have room for every name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.charts.bars import ROWS, draw_classes, draw_groups, draw_per_class
from pipeline.charts.figure import BLUE, GREEN, GREY, ORANGE
from tests.drawings import drawn_in, size_of

pytestmark = pytest.mark.filterwarnings("error")  # matplotlib warns of a missing glyph

NAMES = [f"ḻkṣā {n}" for n in range(156)]
BAR = 0.75  # of the bars' opacity


def test_bars_of_classes_are_as_long_as_their_accuracy(tmp_path: Path) -> None:
    blue = {}
    for right in (0, 500, 1000):  # many, so that intervals are short
        matrix = np.diag([right] * 3) + np.roll(np.diag([1000 - right] * 3), 1, 1)
        draw_per_class(tmp_path / f"{right}.png", matrix, NAMES[:3], "test set")
        blue[right] = drawn_in(tmp_path / f"{right}.png", BLUE, BAR)
    assert blue[0] == 0
    assert blue[500] == pytest.approx(blue[1000] / 2, rel=0.1)


def test_a_class_without_samples_has_no_bar(tmp_path: Path) -> None:
    blue = []
    for counts in ([0, 0, 0], [9, 0, 9]):
        draw_per_class(tmp_path / "c.png", np.diag(counts), NAMES[:3], "test set")
        blue.append(drawn_in(tmp_path / "c.png", BLUE, BAR))
    assert blue[0] == 0 < blue[1]
    draw_per_class(tmp_path / "two.png", np.diag([9, 9]), [NAMES[0], NAMES[2]], "test set")
    assert (tmp_path / "c.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_bars_of_parts_are_as_long_as_their_counts(tmp_path: Path) -> None:
    counts = {"train": [30, 10], "valid": [10, 10], "test": [0, 0], "out": [5, 5]}
    draw_classes(tmp_path / "c.png", NAMES[:2], counts)
    blue, orange, grey, green = (
        drawn_in(tmp_path / "c.png", colour) for colour in (BLUE, ORANGE, GREY, GREEN)
    )
    assert blue == pytest.approx(2 * orange, rel=0.1) and orange == pytest.approx(2 * grey, rel=0.1)
    assert green < grey / 4, "in the legend alone"


@pytest.mark.parametrize("count", [2, 156])
def test_there_is_room_for_every_name(tmp_path: Path, count: int) -> None:
    draw_per_class(tmp_path / "per_class.png", np.eye(count, dtype=np.int64), NAMES[:count], "test")
    draw_classes(
        tmp_path / "classes.png", NAMES[:count], {"train": range(count), "out": [0] * count}
    )
    for path in tmp_path.iterdir():
        width, height = size_of(path)
        assert height / min(count, ROWS) >= 12, "pixels that a line of text needs"
        assert width < 2 * height or count == 2, "the shape of a slide"
        assert path.stat().st_size < 300_000


def test_large_groups_are_a_bar_each_and_small_ones_are_counted(tmp_path: Path) -> None:
    sizes = {
        "large": {"train": np.array([40, 20]), "test": np.array([30])},
        "twice": {"train": np.array([40, 20, 40, 20]), "test": np.array([30])},
        "small": {"train": np.array([1, 2, 2]), "test": np.array([1])},
        "train": {"train": np.array([1, 2, 2])},
        "none": {"train": np.zeros(0, np.int64)},
    }
    for name, groups in sizes.items():
        draw_groups(tmp_path / f"{name}.png", groups)
    blue = {name: drawn_in(tmp_path / f"{name}.png", BLUE) for name in sizes}
    green = {name: drawn_in(tmp_path / f"{name}.png", GREEN) for name in sizes}
    assert blue["large"] == pytest.approx(2 * green["large"], rel=0.15), "60 samples and 30"
    assert blue["twice"] == pytest.approx(2 * blue["large"], rel=0.15)
    assert blue["small"] == pytest.approx(3 * green["small"], rel=0.15), "three groups and one"
    assert green["train"] == 0 and blue["none"] < blue["train"] / 10, "the legend alone"


def test_bars_without_classes_are_an_empty_plot(tmp_path: Path) -> None:
    draw_classes(tmp_path / "none.png", [], {"train": [], "out": []})
    draw_classes(tmp_path / "one.png", ["a"], {"train": [9], "out": [0]})
    assert drawn_in(tmp_path / "none.png", BLUE) < drawn_in(tmp_path / "one.png", BLUE) / 10


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        draw_classes(tmp_path / f"{name}.png", NAMES[:3], {"train": [1, 2, 3]})
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
