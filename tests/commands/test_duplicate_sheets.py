"""Sheets show pairs of duplicates and possible duplicates, the least similar first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from PIL import Image, ImageOps

from pipeline.charts.pair_sheet import (
    APART,
    CAPTION,
    GAP,
    HEADING,
    SIDE,
    draw_duplicates,
    pairs_by_kind,
)
from pipeline.commands.duplicate_sheets import main
from pipeline.dedupe import stage as dedupe
from tests.tables import drawn, picture, write


def test_every_kind_has_its_sheet(project: Callable[..., Path]) -> None:
    project(**{"dedupe.birds": {"method": "phash", "mirror": True}})
    rows = [picture(f"{n}", drawn(n), "ab"[n % 2]) for n in range(8)]
    rows.append(picture("near", drawn(0).resize((160, 120)), "a", quality=75))
    rows.append(picture("other", drawn(2).resize((200, 150)), "b"))
    rows.append(picture("mirror", ImageOps.mirror(drawn(3)), "b"))
    write("birds", rows)
    assert CliRunner().invoke(dedupe.main, ["birds"]).exit_code == 0
    found = pairs_by_kind("birds")
    assert [pair[:2] for pair in found["near-duplicate"]] == [("a/0", "a/near")]
    assert [pair[:2] for pair in found["label-conflict"]] == [("a/2", "b/other")]
    assert [set(pair[:2]) for pair in found["mirror"]] == [{"b/3", "b/mirror"}]
    assert found["near"] == found["crop"] == []
    result = CliRunner().invoke(main, ["birds"])
    assert result.exit_code == 0, result.output
    folder = Path("data/birds/cache/sheets")
    assert result.output == f"3 sheets in {folder}\n"
    drawn_sheet = Image.open(folder / "near-duplicate-01.png").copy()
    assert drawn_sheet.height == SIDE + CAPTION + 8, "one row of pairs"
    left, right = (
        np.asarray(drawn_sheet.crop((x, 0, x + SIDE, 100)).convert("L"), dtype=float)
        for x in (APART // 2, APART // 2 + SIDE + GAP)
    )
    assert np.abs(left - right).mean() < 8, "the two images are similar"
    assert np.asarray(drawn_sheet.crop((0, SIDE, SIDE, SIDE + CAPTION))).min() < 100, "names"
    draw_duplicates(Path("all.png"), "birds")
    line = HEADING + SIDE + CAPTION + 8
    assert Image.open("all.png").copy().size == (drawn_sheet.width, 3 * line), "one row per kind"


def test_a_sheet_without_pairs_has_one_line_of_text(project: Callable[..., Path]) -> None:
    project(**{"dedupe.birds": {"method": "exact"}})
    write("birds", [picture(f"{n}", drawn(n), "ab"[n % 2]) for n in range(4)])
    assert CliRunner().invoke(dedupe.main, ["birds"]).exit_code == 0
    draw_duplicates(Path("none.png"), "birds")
    sheet = np.asarray(Image.open("none.png").convert("L"))
    assert sheet.shape[0] == HEADING and sheet.min() < 100


def test_a_missing_table_is_named(project: Callable[..., Path]) -> None:
    project()
    result = CliRunner().invoke(main, ["tamil"])
    assert result.exit_code == 1
    assert "dedupe.parquet: file not found; run `dvc repro dedupe@tamil`" in result.output
