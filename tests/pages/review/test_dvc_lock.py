"""dvc.lock compared with the disk: the answer is that of DVC itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipeline.core.errors import PipelineError
from pipeline.dataset.paths import LOCK
from pipeline.pages.review.dvc_lock import MAX_HASHED, has_changed, stale_stages
from tests.conftest import ROOT

DVC_YAML = """
stages:
  split:
    foreach: [dances]
    do:
      cmd: python -c "open('split.csv', 'w').write('1')"
      deps: [room, data.csv]
      params: [split.dances]
      outs: [split.csv]
"""
PARAMS = "split:\n  dances: {seed: 1, rate: 1e-05}\n  tamil: {seed: 2}\n"
# "-" sorts before "/", so the order of paths differs from the order of their parts
FILES = ("stage.py", "__main__.py", "parts/one.py", "parts-2.py", "templates/deep/page.html")


def dvc(*arguments: str) -> str:
    """Run DVC, without its analytics and its check for updates."""
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def edit(path: str, text: str) -> Callable[[], None]:
    """Return a function that writes a file."""

    def write() -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)

    return write


CHANGES: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "an edit": edit("room/stage.py", "x = 2\n"),
    "an edit of the same size below": edit("room/parts/one.py", "x = 8\n"),
    "a new file": edit("room/new.py", ""),
    "a file removed": lambda: Path("room/parts-2.py").unlink(),
    "a file renamed": lambda: Path("room/parts-2.py").rename("room/parts-3.py"),
    "compiled code": edit("room/__pycache__/stage.pyc", "code"),
    "compiled code below": edit("room/parts/__pycache__/one.pyc", "code"),
    "touched": lambda: os.utime("room/stage.py", (1, 1)),
    "another file": edit("data.csv", "2\n"),
    "a file missing": lambda: Path("data.csv").unlink(),
    "a param": edit("params.yaml", PARAMS.replace("seed: 1", "seed: 3")),
    "a number written otherwise": edit("params.yaml", PARAMS.replace("1e-05", "0.00001")),
    "a param of another dataset": edit("params.yaml", PARAMS.replace("seed: 2", "seed: 3")),
}


@pytest.mark.slow
def test_a_stage_is_stale_if_and_only_if_dvc_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc.repo import Repo

    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    (tmp_path / ".dvcignore").write_bytes((ROOT / ".dvcignore").read_bytes())

    def restore() -> None:
        for name in FILES:
            edit(f"room/{name}", "x = 1\n")()
        edit("data.csv", "1\n")()
        edit("params.yaml", PARAMS)()
        for name in ("new.py", "parts-3.py"):
            Path("room", name).unlink(missing_ok=True)

    restore()
    dvc("init", "--no-scm", "-q")
    assert stale_stages("dances", ["split"]) == {"split"}, "it has never run"
    edit("room/__pycache__/stage.pyc", "old")()
    dvc("repro", "-q")
    lock = yaml.safe_load(LOCK.read_text())["stages"]["split@dances"]
    assert {"path", "md5", "size", "nfiles"} <= lock["deps"][1].keys(), "a folder, hashed by DVC"
    found, expected = {}, {}
    for name, change in CHANGES.items():
        restore()
        change()
        found[name] = stale_stages("dances", ["split"]) == {"split"}
        with Repo() as repo:
            expected[name] = bool(repo.status())
    assert found == expected
    fresh = {name for name, is_stale in found.items() if not is_stale}
    assert fresh == {
        "nothing",
        "compiled code",
        "compiled code below",
        "touched",
        "a number written otherwise",
        "a param of another dataset",
    }

    restore()
    edit("room/stage.py", "x = 3\n")()
    assert stale_stages("dances", ["split"]) == {"split"}
    dvc("commit", "-f", "-q")
    assert stale_stages("dances", ["split"]) == set(), "the edit is accepted"


def test_only_the_size_of_a_large_file_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "samples.parquet"
    path.write_bytes(b"x" * (MAX_HASHED + 1))
    assert not has_changed(path, {"md5": "0", "size": MAX_HASHED + 1})
    assert has_changed(path, {"md5": "0", "size": MAX_HASHED})


def test_a_damaged_lock_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    LOCK.write_text("stages: [")
    with pytest.raises(PipelineError, match=r"dvc\.lock: not YAML"):
        stale_stages("dances", ["split"])
