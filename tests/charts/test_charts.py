"""Plots have room for every name, bear what is missing, and are the same for the same numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.charts import fonts as lettering
from pipeline.charts.bars import ROWS, draw_classes, draw_groups, draw_per_class
from pipeline.charts.figure import drawing
from pipeline.evaluate.plots import draw_calibration, draw_confusion, draw_most_confused, neighbours
from pipeline.model.metrics import Ints
from pipeline.train.plots import draw_finder, draw_history

HEADER = ("epoch", "stage", "train_loss", "valid_loss", "accuracy", "balanced_accuracy")
HISTORY = [[1, "stage_1", 2.0, None, None, None], [2, "stage_2", 1.5, 1.2, 0.5, 0.4]]
NAMES = [f"ḻkṣā {n}" for n in range(156)]


@pytest.fixture(autouse=True)
def warnings_are_errors() -> Iterator[None]:
    """A glyph that is missing is a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def matrix(count: int) -> Ints:
    found = np.eye(count, dtype=np.int64) * 50
    found[0, 1] = 7
    return found


def draw_all(folder: Path, count: int) -> None:
    """Draw one of everything for so many classes."""
    names, wrong = NAMES[:count], matrix(count)
    sure = np.random.default_rng(0).dirichlet(np.ones(count), 40)
    draw_confusion(folder / "confusion.png", wrong, names, "test")
    draw_most_confused(folder / "most_confused.png", wrong, names, "test")
    draw_per_class(folder / "per_class.png", wrong, names, "test")
    draw_calibration(folder / "calibration.png", sure, sure, np.arange(40) % count)
    draw_classes(folder / "classes.png", names, {"train": range(count), "out": [0] * count})
    draw_groups(folder / "groups.png", {"train": np.arange(count), "test": np.array([], np.int64)})
    draw_history(folder / "history.png", HEADER, HISTORY)
    finder = [["stage_1", 10.0**power, 3.0 + power**2] for power in range(-6, 1)]
    draw_finder(folder / "lr_find.png", finder, {"stage_1": 0.001, "stage_2": None})


@pytest.mark.parametrize("count", [2, 156])
def test_there_is_room_for_every_name(tmp_path: Path, count: int) -> None:
    draw_all(tmp_path, count)
    with Image.open(tmp_path / "confusion.png") as image:
        assert image.width / count >= 12  # pixels a line of text needs
        assert image.width < 5000
    for name in ("per_class.png", "classes.png"):
        with Image.open(tmp_path / name) as image:
            assert image.height / min(count, ROWS) >= 12
            assert image.width < 2 * image.height or count == 2  # fits a slide
    with Image.open(tmp_path / "most_confused.png") as image:
        assert image.width < 1800  # readable where the whole matrix is not
    assert max(path.stat().st_size for path in tmp_path.iterdir()) < 300_000


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        draw_all(tmp_path / name, 3)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


def test_nothing_is_drawn_as_nothing(tmp_path: Path) -> None:
    none, no_ints = np.zeros((0, 2)), np.zeros(0, np.int64)
    empty = np.zeros((2, 2), np.int64)
    draw_history(tmp_path / "history.png", HEADER, [])
    draw_finder(tmp_path / "finder.png", [])
    draw_calibration(tmp_path / "calibration.png", none, none, no_ints)
    draw_confusion(tmp_path / "confusion.png", empty, NAMES[:2], "valid")
    draw_most_confused(tmp_path / "most_confused.png", empty, NAMES[:2], "valid")
    draw_per_class(tmp_path / "per_class.png", empty, NAMES[:2], "valid")
    draw_classes(tmp_path / "classes.png", [], {"train": [], "out": []})
    draw_groups(tmp_path / "groups.png", {"train": no_ints})
    draw_groups(tmp_path / "small.png", {"train": np.array([1, 2, 2]), "test": np.array([1])})
    assert all(path.stat().st_size > 500 for path in tmp_path.iterdir())


def test_what_is_confused_stands_side_by_side() -> None:
    wrong = np.diag(np.full(30, 9))
    for a, b in ((2, 21), (7, 14), (21, 9)):
        wrong[a, b] = wrong[b, a] = 5
    order = neighbours(wrong, 5).tolist()
    assert sorted(order) == [2, 7, 9, 14, 21]
    assert abs(order.index(7) - order.index(14)) == 1
    assert {abs(order.index(21) - order.index(other)) for other in (2, 9)} <= {1, 2}
    assert neighbours(np.eye(3, dtype=np.int64), 5).size == 0


def test_a_name_is_drawn_in_letters_that_there_are(no_fonts: None) -> None:
    assert lettering.tick("042", "கா", "kā") == "kā"
    assert lettering.tick("042", "கா") == "042"
    assert lettering.tick("கா", "கா") == r"\u0b95\u0bbe"
    assert lettering.tick("kathak", "Kathak") == "Kathak"
    assert lettering.both("042", "கா", "kā") == "kā"
    assert (
        lettering.tick("a", "a name that is longer than a tick") == "a name that is longer than …"
    )
    assert lettering.drawable(None, "a\nb", "கா") == ""
    assert lettering.families(["கா", "ab"]) == [lettering.OWN]


def test_a_font_of_the_system_draws_what_the_own_lacks(tmp_path: Path) -> None:
    if lettering.font_for("கா") is None:
        pytest.skip("no font with Tamil letters here, or no libraqm")
    assert lettering.tick("042", "கா", "kā") == "கா"
    assert lettering.both("042", "கா", "kā") == "கா kā"
    own, other = lettering.families(["கா kā"])
    assert own == lettering.OWN and other != own
    pieces = list(lettering.runs("கா kā as b"))
    assert [text for text, _ in pieces] == ["கா ", "kā as b "]
    with drawing(tmp_path / "letters.png", (2, 1), ["கெ"]) as figure:
        figure.text(0, 0, "கெ")  # the vowel sign goes before: no letter is missing
    assert (tmp_path / "letters.png").stat().st_size > 300


@pytest.mark.parametrize("name", ["$x$", "$\\frac$", "<script>", "_^", "😀 smile"])
def test_a_class_may_be_called_anything(tmp_path: Path, name: str) -> None:
    said = lettering.tick("label", name)
    draw_most_confused(tmp_path / "c.png", matrix(2), [said, "b"], "test")
    assert (tmp_path / "c.png").stat().st_size > 1000


def test_a_drawing_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with drawing(tmp_path / "x.png"):
            raise RuntimeError("in the middle")

    check: Callable[[], None] = fail
    with pytest.raises(RuntimeError, match="in the middle"):
        check()
    assert list(tmp_path.iterdir()) == []
