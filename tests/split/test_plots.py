"""The charts and sheets of a split agree with split.csv, and drawing needs no torch."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageColor

from pipeline.charts.contact_sheet import CELL
from pipeline.charts.figure import PART_COLOURS
from pipeline.dataset.split_table import PARTS
from pipeline.dedupe import stage as dedupe
from pipeline.split import stage as split
from tests.running import run
from tests.tables import drawn, picture, write

Project = Callable[..., Path]


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def birds(project: Project) -> Path:
    """Make a dataset of two classes with one image under both labels, after dedupe."""
    split_params = {"method": "group", "valid": 0.3, "test": 0.2}
    root = project(**{"dedupe.birds": {"method": "exact"}, "split.birds": split_params})
    rows = [
        picture(f"{n}", drawn(n, (60, 40)), "ab"[n % 2], romanised="āy" if n % 2 == 0 else None)
        for n in range(24)
    ]
    write("birds", [*rows, rows[0] | {"sample_id": "b/both", "label": "b", "romanised": None}])
    run(dedupe.main, "birds")
    return root / "data" / "birds"


def test_the_counts_agree_with_split_csv(project: Project) -> None:
    folder = birds(project)
    run(split.main, "birds")
    counts = Counter((row["label"], row["part"]) for row in rows_of(folder / "split.csv"))
    table_of = rows_of(folder / "reports/split/classes.csv")
    assert [row["label"] for row in table_of] == ["a", "b"]
    for row in table_of:
        for part in ("train", "valid", "test", "out"):
            assert int(row[part]) == counts[row["label"], part]
    assert sum(int(row["out"]) for row in table_of) == 2
    assert (table_of[0]["name"], table_of[0]["romanised"]) == ("A", "āy")
    for chart in ("classes.png", "groups.png"):
        with Image.open(folder / "reports/split" / chart) as image:
            colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 24) or []}
        assert {ImageColor.getrgb(PART_COLOURS[part]) for part in PARTS} <= colours, "bars of parts"
    with Image.open(folder / "classes.png") as sheet:
        assert 8 * CELL < sheet.width < 10 * CELL and 2 * CELL < sheet.height < 3 * CELL
    assert (folder / "duplicates.png").exists()
    first = {path: path.read_bytes() for path in folder.rglob("*.png")}
    run(split.main, "birds")
    assert first == {path: path.read_bytes() for path in first}, "a second run changes no byte"


def test_dvc_runs_the_stage_as_a_module_and_it_needs_no_torch(project: Project) -> None:
    folder = birds(project)
    code = (
        "import runpy, sys; sys.modules['torch'] = None; sys.argv = ['split', 'birds']\n"
        "runpy.run_module('pipeline.split', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "classes.png").exists()
    assert "python -m pipeline.split dances" in run(split.main, "--help").output
