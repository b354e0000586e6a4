"""What split shows: counts that agree with the split, pictures of those in use, and no torch."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner
from PIL import Image

from pipeline.charts.contact_sheet import CELL
from pipeline.dedupe import stage as dedupe
from pipeline.split import stage as split
from tests.tables import drawn, picture, write

Project = Callable[..., Path]


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def birds(project: Project) -> Path:
    """Make a dataset of two classes with one picture under both labels, marked by dedupe."""
    split_params = {"method": "group", "valid": 0.3, "test": 0.2}
    root = project(**{"dedupe.birds": {"method": "exact"}, "split.birds": split_params})
    rows = [
        picture(f"{n}", drawn(n, (60, 40)), "ab"[n % 2], romanised="āy" if n % 2 == 0 else None)
        for n in range(24)
    ]
    write("birds", [*rows, rows[0] | {"sample_id": "b/both", "label": "b", "romanised": None}])
    assert CliRunner().invoke(dedupe.main, ["birds"]).exit_code == 0
    return root / "data" / "birds"


def test_the_counts_are_those_of_the_split(project: Project) -> None:
    folder = birds(project)
    result = CliRunner().invoke(split.main, ["birds"])
    assert result.exit_code == 0, result.output
    counts = Counter((row["label"], row["part"]) for row in rows_of(folder / "split.csv"))
    table_of = rows_of(folder / "reports/split/classes.csv")
    assert [row["label"] for row in table_of] == ["a", "b"]
    for row in table_of:
        for part in ("train", "valid", "test", "out"):
            assert int(row[part]) == counts[row["label"], part]
    assert sum(int(row["out"]) for row in table_of) == 2
    assert (table_of[0]["name"], table_of[0]["romanised"]) == ("A", "āy")
    for chart in ("classes.png", "groups.png"):
        with Image.open(folder / "reports/split" / chart) as drawn:
            assert drawn.size > (300, 100)
    with Image.open(folder / "classes.png") as sheet:
        assert 8 * CELL < sheet.width < 10 * CELL and 2 * CELL < sheet.height < 3 * CELL
    assert (folder / "duplicates.png").exists()
    first = {path: path.read_bytes() for path in folder.rglob("*.png")}
    assert CliRunner().invoke(split.main, ["birds"]).exit_code == 0
    assert first == {path: path.read_bytes() for path in first}, "a rerun makes no diff"


def test_a_split_loads_no_torch(project: Project) -> None:
    folder = birds(project)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pipeline.split.stage import main\nmain(['birds'])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert (folder / "classes.png").exists()
