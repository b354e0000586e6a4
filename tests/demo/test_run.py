"""`kalai demo` as a person runs it; tests/test_end_to_end.py goes on where --keep ends."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from pipeline.demo import scratch
from pipeline.demo.drawn_archives import TEST_ARCHIVE, TRAIN_ARCHIVE
from pipeline.demo.found import Finding
from pipeline.demo.run import main, table
from pipeline.demo.scenes import Scene
from tests.conftest import ROOT
from tests.kept_demo import Demo
from tests.tables import drawn, encoded


@pytest.mark.slow
def test_the_demo_finds_every_fault_learns_and_prints_what_people_need(demo: Demo) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (promised,) = re.findall(r"^fault +\| planted .*?(?=^```)", readme, flags=re.M | re.S)
    assert promised in demo.output
    rows = re.findall(r"^(\S.*?) +\| +(\d+) \| +(\d+) \| (.+)$", promised, flags=re.M)
    assert len(rows) == 18
    assert all(int(planted) == int(found) > 0 for _, planted, found, _ in rows)
    order = ["> python -m pipeline.train", "fault ", "\ndances\n", "\ntamil\n", "kalai add-dance"]
    assert sorted(order, key=demo.output.index) == order
    assert "lock file" not in demo.output and "dvc push" not in demo.output
    for dataset, classes in (("dances", 4), ("tamil", 6)):
        metrics = json.loads((demo.root / f"data/{dataset}/reports/evaluate.json").read_text())
        assert metrics["classes"] == classes
        for part in ("valid", "test"):
            assert metrics[part]["accuracy"] > 2 / classes, metrics


@pytest.mark.slow
def test_the_demo_writes_to_its_folder_only(demo: Demo) -> None:
    assert list(demo.root.parent.iterdir()) == [demo.root]


def demo_of(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `kalai demo` with its scratch folders below `folder`."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "demo", *arguments],
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        check=False,
        text=True,
        timeout=900,
    )


def test_a_demo_that_ends_well_removes_its_folder(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the first stages of dvc.yaml alone: the whole of it runs in the test above."""
    real = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    settings = tmp_path / "settings"
    settings.mkdir()
    (settings / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    short = {"stages": {"crawl": real["crawl"], "fetch": real["fetch"]}}
    (settings / "dvc.yaml").write_text(yaml.safe_dump(short), encoding="utf-8")
    for dataset in ("dances", "tamil"):
        (settings / "data" / dataset).mkdir(parents=True)
        decisions = f"data/{dataset}/decisions.csv"
        (settings / decisions).write_bytes((ROOT / decisions).read_bytes())
    monkeypatch.setattr(scratch, "SETTINGS", (settings,))
    assert scene.archives.drawn
    for name, part in ((TRAIN_ARCHIVE, "train"), (TEST_ARCHIVE, "test")):
        (tmp_path / f"hpl-tamil-x-{part}-online.tar.gz").write_bytes(
            scene.archives.drawn.files[name]
        )
    for seed, name in enumerate(("Kathak", "Odissi")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "1.jpg").write_bytes(encoded(drawn(seed)))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))

    given = ("--dances", str(tmp_path / "photos"), "--tamil", str(tmp_path))
    done = CliRunner().invoke(main, given)
    assert done.exit_code == 0, done.output
    assert "Running stage 'fetch@tamil'" in done.stdout
    assert re.search(r"crawled +2 .*of 2 .*\(kathak 1, odissi 1\)", done.stdout)
    assert "kalai demo --keep" in done.stdout
    assert "lock file" not in done.stdout
    assert str(tmp_path) not in done.output
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_stage_that_fails_leaves_the_folder_and_names_it(tmp_path: Path) -> None:
    for name in ("kathak", "odissi"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "1.jpg").write_text("not an image")
    folder = tmp_path / "scratch"
    folder.mkdir()
    done = demo_of(folder, "--dances", str(tmp_path / "photos"))
    assert done.returncode == 1
    (kept,) = folder.iterdir()
    assert f"The project stays in {kept}; to remove it: rm -rf {kept}" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last == "error: `dvc repro` failed with exit code 255; its error is above"
    assert "Traceback" not in done.stderr
    ledger = kept / "data" / "dances" / "crawl" / "kathak" / "ledger.jsonl"
    assert '"not-an-image"' in ledger.read_text(encoding="utf-8")


def test_a_fault_that_was_missed_is_marked_in_the_table() -> None:
    lines = table([Finding("one", 2, 2, "kept"), Finding("another", 4, 3, "stored once")])
    assert lines[2:] == [
        "one     |       2 |     2 | kept",
        "another |       4 |     3 | stored once   <- NOT ALL",
    ]


def test_a_demo_that_cannot_start_fails_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "empty").mkdir()

    def ask(*arguments: str) -> Result:
        return CliRunner().invoke(main, arguments)

    for option in ("--dances", "--tamil"):
        empty = ask(option, str(tmp_path / "empty"))
        assert empty.exit_code == 1
        assert re.fullmatch(r"error: .*/empty: expected .+\n", empty.stderr)
        assert ask(option, str(tmp_path / "nowhere")).exit_code == 2
    assert ask("--tamil-per-class", "0").exit_code == 2
    monkeypatch.setenv("PATH", str(tmp_path))
    no_git = ask()
    assert no_git.exit_code == 1
    assert re.fullmatch("error: git: command not found; install git.*\n", no_git.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
