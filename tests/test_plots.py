from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline import plots
from pipeline.network import ClassName

LETTERS = tuple(ClassName(f"{n:03}", "க", "ḻkṣā") for n in range(156))


def test_names_are_drawn_in_letters_that_the_font_has() -> None:
    assert plots.tick(ClassName("042", "கா", "kā")) == "kā"
    assert plots.tick(ClassName("042", "கா")) == "042"
    assert plots.tick(ClassName("kathak", "Kathak")) == "Kathak"


@pytest.mark.parametrize("count", [2, 156])
def test_a_confusion_matrix_has_room_for_every_name(tmp_path: Path, count: int) -> None:
    matrix = np.eye(count, dtype=np.int64) * 50
    matrix[0, 1] = 7
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a glyph that is missing is a warning
        plots.draw_confusion(tmp_path / "c.png", matrix, LETTERS[:count], "test")
    with Image.open(tmp_path / "c.png") as image:
        assert image.width / count >= 12  # pixels a line of text needs
        assert image.width < 5000
    assert (tmp_path / "c.png").stat().st_size < 1_000_000


def test_curves_bear_what_is_not_known_yet_and_the_same_rows_give_the_same_bytes(
    tmp_path: Path,
) -> None:
    header = ("epoch", "stage", "train_loss", "valid_loss", "accuracy")
    rows = [[1, "stage_1", 2.0, None, None], [2, "stage_2", 1.5, 1.2, 0.5]]
    for name in ("one.png", "two.png"):
        plots.draw_history(tmp_path / name, header, rows)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    plots.draw_history(tmp_path / "none.png", header, [])
    plots.draw_finder(tmp_path / "finder.png", [])
    plots.draw_calibration(tmp_path / "c.png", np.zeros((0, 2)), np.zeros(0, np.int64))
    assert all(path.stat().st_size > 1000 for path in tmp_path.iterdir())
