"""A contact sheet shows each image in a cell; an image that cannot be decoded is grey."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.charts.contact_sheet import CAPTION, CELL, GAP, draw_sheet
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
