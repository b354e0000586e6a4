"""A contact sheet shows each image in a cell; an image that cannot be decoded is grey."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageColor

from pipeline.charts.contact_sheet import (
    CAPTION,
    CELL,
    GAP,
    WIDTH,
    Cell,
    draw_cells,
    draw_sheet,
    pick,
)
from tests.tables import encoded

GREY = (211, 211, 211)


def test_a_sheet_has_room_for_odd_images_and_long_names(tmp_path: Path) -> None:
    wide = encoded(Image.new("L", (900, 30), 7), "PNG")
    draw_sheet(tmp_path / "s.png", {"x" * 300: [wide, b"<html>"], "": []})
    sheet = Image.open(tmp_path / "s.png").convert("RGB")
    assert sheet.width < 10 * CELL
    colours = {colour: count for count, colour in sheet.getcolors(1_000_000) or []}
    assert CELL * CELL <= colours[GREY] < 2 * CELL * CELL, "one image cannot be decoded"
    middle = GAP + CAPTION + CELL // 2
    bar = np.asarray(sheet.convert("L").crop((GAP, middle - 1, GAP + CELL, middle + 1))).max(0)
    assert (bar < 64).all(), "the other is a bar as wide as the cell"


def test_a_sheet_without_classes_is_empty(tmp_path: Path) -> None:
    draw_sheet(tmp_path / "none.png", {})
    sheet = Image.open(tmp_path / "none.png").convert("RGB")
    assert sheet.height == GAP and sheet.getcolors() == [(sheet.width * GAP, (255, 255, 255))]


def test_a_cell_shows_its_whole_image_with_its_lines_below(tmp_path: Path) -> None:
    side, colours = 60, ["red", "lime", "blue"] * 4
    cells = [
        Cell(encoded(Image.new("RGB", (30, 30), colour), "PNG"), ("label", "predicted") * (n == 0))
        for n, colour in enumerate(colours)
    ]
    draw_cells(tmp_path / "s.png", cells, side)
    sheet = np.asarray(Image.open(tmp_path / "s.png").convert("RGB"))
    step_x, step_y = side + 2 * GAP, side + 2 * CAPTION + 2 * GAP
    for number, colour in enumerate(colours):
        x, y = GAP + number % WIDTH * step_x, GAP + number // WIDTH * step_y
        assert (sheet[y : y + side, x : x + side] == ImageColor.getrgb(colour)).all()
        below = sheet[y + side : y + side + 2 * CAPTION, x : x + side]
        assert (below.min() < 128) == (number == 0), "only the first cell has lines"


def test_the_images_of_a_class_are_those_with_the_smallest_content_ids() -> None:
    rows = [("b", "9", "b/1"), ("b", "3", "b/2"), ("a", "5", "a/1"), ("b", "4", "b/3")]
    assert pick(rows, 2) == {"a": ["a/1"], "b": ["b/2", "b/3"]}
    assert pick(reversed(rows), 2) == pick(rows, 2)
