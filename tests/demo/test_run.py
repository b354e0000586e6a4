"""`kalai demo` as a person runs it; test_end_to_end.py goes on where --keep leaves them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.demo.run import main


def demo(
    folder: Path, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `kalai demo` with its scratch folders below `folder`."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "demo", *arguments],
        # torchvision's import makes torch's cache folder, in TMPDIR unless it has a place
        env={
            **os.environ,
            "TMPDIR": str(folder),
            "TORCHINDUCTOR_CACHE_DIR": str(folder.parent / "torch"),
            **(env or {}),
        },
        capture_output=True,
        check=False,
        text=True,
        timeout=900,
    )


@pytest.mark.slow
def test_the_demo_tells_all_and_leaves_nothing(tmp_path: Path) -> None:
    done = demo(tmp_path, env={"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://x:9"})
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^(\S.*?) +\| +(\d+) \| +(\d+) \| (.+)$", done.stdout, flags=re.M)
    assert len(rows) == 18
    assert all(int(planted) == int(found) > 0 for _, planted, found, _ in rows)
    order = ["> python -m pipeline.train", "fault ", "\ndances\n", "\ntamil\n", "kalai demo --keep"]
    assert sorted(order, key=done.stdout.index) == order
    tests = re.findall(r"test +(\d+\.\d)% of .* chance (\d+\.\d)%", done.stdout)
    assert len(tests) == 2
    assert all(float(accuracy) > 2 * float(chance) for accuracy, chance in tests)
    assert list(tmp_path.iterdir()) == []


def test_a_stage_that_fails_leaves_the_folder_and_names_it(tmp_path: Path) -> None:
    for name in ("kathak", "odissi"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "1.jpg").write_text("not a picture")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = demo(scratch, "--dances", str(tmp_path / "photos"))
    assert done.returncode == 1
    (kept,) = scratch.iterdir()
    assert f"The folder stays: {kept}" in done.stderr
    assert done.stderr.splitlines()[-1] == "error: dvc repro: ended with 255"
    assert "Traceback" not in done.stderr
    ledger = kept / "data" / "dances" / "crawl" / "kathak" / "ledger.jsonl"
    assert '"not-an-image"' in ledger.read_text(encoding="utf-8")


def test_what_it_cannot_do_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "empty").mkdir()

    def ask(*arguments: str) -> Result:
        return CliRunner().invoke(main, arguments)

    for option in ("--dances", "--tamil"):
        empty = ask(option, str(tmp_path / "empty"))
        assert empty.exit_code == 1
        assert re.fullmatch(r"error: .*/empty: .+\n", empty.stderr)
        assert ask(option, str(tmp_path / "nowhere")).exit_code == 2
    assert ask("--tamil-per-class", "0").exit_code == 2
    monkeypatch.setenv("PATH", str(tmp_path))
    no_git = ask()
    assert no_git.exit_code == 1
    assert re.fullmatch("error: git: not found.*\n", no_git.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
