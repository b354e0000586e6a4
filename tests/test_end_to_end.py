"""The three gestures in the demo's project: real DVC, git, icrawler over HTTP, and training."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.dataset.ledger import read_ledger

pytestmark = pytest.mark.slow


@dataclass
class Demo:
    """A kept demo: its project, and the loopback web that serves on."""

    process: subprocess.Popen[str]
    root: Path
    shown: str

    @property
    def env(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path}

    def run(self, *command: str, at: Path | None = None) -> str:
        """Run a command in the project; return what it printed, or fail with it."""
        done = subprocess.run(
            command,
            cwd=at or self.root,
            env=self.env,
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
        )
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def requests(self) -> list[str]:
        """Return the URLs that the loopback web was asked for, in order."""
        log = self.root / ".dvc" / "tmp" / "web.jsonl"
        return [json.loads(line)["url"] for line in log.read_text().splitlines()]

    def set_param(self, dotted: str, value: object) -> None:
        """Change one value of params.yaml."""
        path = self.root / "params.yaml"
        values: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        at = values
        *parents, last = dotted.split(".")
        for parent in parents:
            at = at[parent]
        at[last] = value
        path.write_text(yaml.safe_dump(values, allow_unicode=True, sort_keys=False))

    def commit(self, message: str) -> None:
        """Commit all that git does not ignore."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--allow-empty", "--message", message)

    def kill_repro_when(self, is_time: Callable[[], bool]) -> None:
        """Start `dvc repro`, and kill it and all it started with SIGKILL when it is time."""
        process = subprocess.Popen(
            ["dvc", "repro"],
            cwd=self.root,
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while not is_time():
            assert process.poll() is None, "dvc repro ended before it could be killed"
            assert time.monotonic() < deadline, "the time to kill never came"
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def stages_run(shown: str) -> set[str]:
    """Return the stages that a `dvc repro` ran."""
    return set(re.findall(r"Running stage '([^']+)'", shown))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Run `kalai demo --keep` until it serves on; end it with Ctrl-C."""
    folder = tmp_path_factory.mktemp("demo")
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "demo", "--keep"],
        env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    shown = ""
    for line in process.stdout:
        shown += line
        if line.startswith("Serving on"):
            break
    else:
        pytest.fail(f"the demo ended with {process.wait()}:\n{shown}")
    found = re.search(r"^project\s+(.+)$", shown, flags=re.M)
    assert found, shown
    yield Demo(process, Path(found[1]), shown)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0
    process.stdout.close()


def test_the_first_run_found_every_planted_fault_and_learned(demo: Demo) -> None:
    faults = re.findall(r"^(\S.*?)\s+\|\s+(\d+) \|\s+(\d+) \|", demo.shown, flags=re.M)
    assert len(faults) >= 11
    assert all(int(planted) == int(found) > 0 for _, planted, found in faults)
    for dataset, classes in (("dances", 4), ("tamil", 5)):
        metrics = json.loads((demo.root / f"data/{dataset}/reports/evaluate.json").read_text())
        assert metrics["valid"]["accuracy"] > 1.5 / classes, metrics
    assert demo.run("git", "status", "--porcelain") == ""


def test_repro_again_does_nothing_and_asks_nobody(demo: Demo) -> None:
    before = demo.requests()
    shown = demo.run("dvc", "repro")
    assert stages_run(shown) == set()
    assert "up to date" in shown
    assert demo.requests() == before
    assert demo.run("git", "status", "--porcelain") == ""


def test_a_dance_is_added_through_a_kill_and_nothing_is_crawled_twice(demo: Demo) -> None:
    before = demo.requests()
    demo.run("kalai", "add-dance", "odissi", "--query", "odissi dance", "--query", "odissi dancer")
    images = demo.root / "data/dances/crawl/odissi/images"
    demo.kill_repro_when(lambda: images.is_dir() and len(list(images.iterdir())) >= 5)
    kept = {path.name: path.read_bytes() for path in images.iterdir()}
    ledger = images.parent / "ledger.jsonl"
    # A kill between a picture's line and its renaming loses that one picture, and no other.
    named = [one for one in read_ledger(ledger) if one.outcome == "stored"]
    lost = [one for one in named if one.file_name not in kept]
    at_kill = demo.requests()

    shown = demo.run("dvc", "repro")
    assert stages_run(shown) == {
        "crawl@odissi",
        "collect",
        "dedupe@dances",
        "split@dances",
        "train@dances",
        "evaluate@dances",
    }
    after = {path.name: path.read_bytes() for path in images.iterdir()}
    assert kept.items() <= after.items()
    stored = [one for one in read_ledger(ledger) if one.outcome == "stored"]
    assert len(lost) <= 1
    assert {one.file_name for one in stored} == after.keys()
    assert len(stored) == len(after) + len(lost)
    had = {one.source_url for one in stored if one.file_name in kept}
    assert not had & set(demo.requests()[len(at_kill) :])
    pictures = {url for url in before if url.endswith((".jpg", ".png"))}
    assert not pictures & set(demo.requests()[len(before) :])
    values = json.loads((demo.root / "data/dances/reports/evaluate.json").read_text())
    assert values["valid"]["count"] > 0
    assert "odissi" in (demo.root / "data/dances/split.csv").read_text()
    changed = demo.run("dvc", "metrics", "diff")
    assert "evaluate.json" in changed and "crawl-odissi.json" in changed
    demo.commit("Add Odissi")


def test_a_parameter_is_changed_through_a_kill_and_the_diff_shows_it(demo: Demo) -> None:
    params = yaml.safe_load((demo.root / "params.yaml").read_text(encoding="utf-8"))
    epochs = params["train"]["dances"]["unfrozen_epochs"] + 1
    demo.set_param("train.dances.unfrozen_epochs", epochs)
    demo.set_param("train.dances.checkpoint_s", 0)  # or a quiet machine ends before the first one
    before = demo.requests()
    checkpoints = demo.root / "data/dances/checkpoints"
    old = {path: path.stat().st_mtime_ns for path in checkpoints.rglob("*") if path.is_file()}

    def a_new_epoch_is_saved() -> bool:
        with contextlib.suppress(FileNotFoundError):
            return any(
                path.is_file() and old.get(path) != path.stat().st_mtime_ns
                for path in checkpoints.rglob("*")
                if ".part" not in path.name
            )
        return False

    demo.kill_repro_when(a_new_epoch_is_saved)
    shown = demo.run("dvc", "repro")
    assert stages_run(shown) == {"train@dances", "evaluate@dances"}
    assert demo.requests() == before
    history = (demo.root / "data/dances/reports/train/history.csv").read_text().splitlines()
    total = params["train"]["dances"]["frozen_epochs"] + epochs
    assert len(history) == 1 + total
    assert "train.dances.unfrozen_epochs" in demo.run("dvc", "params", "diff")
    assert "train.json" in demo.run("dvc", "metrics", "diff")
    page = demo.run("dvc", "plots", "diff", "--out", "plots-page").strip().splitlines()[-1]
    assert page.endswith("index.html")
    assert "history.csv" in (demo.root / "plots-page/index.html").read_text(encoding="utf-8")
    demo.run("git", "clean", "--quiet", "-fd", "plots-page")
    demo.commit("Train one epoch more")


def test_the_flattering_split_stands_beside_the_honest_one(demo: Demo) -> None:
    demo.run("dvc", "exp", "run", "--name", "flattering", "-S", "split.tamil.method=random")
    columns = "Experiment|.*class_averaged_accuracy$|.*tamil.method"  # as the README has it
    asked = ("dvc", "exp", "show", "--csv", "--no-pager", "--drop", ".*", "--keep", columns)
    rows = list(csv.DictReader(demo.run(*asked).splitlines()))
    (accuracy,) = (name for name in rows[0] if re.search("tamil.*:test.class_averaged", name))
    (flattering,) = (row for row in rows if row["Experiment"] == "flattering")
    assert flattering["split.tamil.method"] == "random"
    assert 0 < float(flattering[accuracy]) <= 1, "the random split has a test part, too"
    demo.run("git", "checkout", "--quiet", "--", ".")
    demo.run("dvc", "checkout", "--quiet")
    assert stages_run(demo.run("dvc", "repro")) == set()


def test_a_strangers_clone_reads_the_numbers(demo: Demo, tmp_path: Path) -> None:
    demo.run("git", "clone", "--quiet", str(demo.root), str(tmp_path / "clone"), at=tmp_path)
    clone = tmp_path / "clone"
    shown = demo.run("dvc", "metrics", "show", at=clone)
    for name in ("crawl-kathak", "collect", "convert", "dedupe", "split", "train", "evaluate"):
        assert f"reports/{name}.json" in shown
    assert "evaluate.json" in demo.run("dvc", "metrics", "diff", "HEAD~1", at=clone)
    assert "dances.odissi" in demo.run("dvc", "params", "diff", "HEAD~2", at=clone)
    assert "index.html" in demo.run("dvc", "plots", "show", at=clone)
    assert "evaluate" in demo.run("dvc", "exp", "show", "--csv", "--no-pager", at=clone)
    assert "kathak" in demo.run("kalai", "status", at=clone)


def test_a_dance_is_removed(demo: Demo) -> None:
    values = yaml.safe_load((demo.root / "params.yaml").read_text(encoding="utf-8"))
    del values["dances"]["odissi"]
    (demo.root / "params.yaml").write_text(yaml.safe_dump(values, allow_unicode=True))
    before = demo.requests()
    shown = demo.run("dvc", "repro")
    assert "collect" in stages_run(shown) and not any("crawl" in name for name in stages_run(shown))
    assert "odissi" not in (demo.root / "data/dances/split.csv").read_text()
    assert demo.requests() == before
