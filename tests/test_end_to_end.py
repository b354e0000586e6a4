"""The three gestures in a copy of the demo's project: real DVC, git, HTTP and training."""

from __future__ import annotations

import contextlib
import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from pipeline.dataset.ledger import read_ledger
from tests.kept_demo import Demo, Project

pytestmark = pytest.mark.slow

# What is tested below does not depend on a good model.
SHORT = {"frozen_epochs": 0, "unfrozen_epochs": 1, "lr_find_steps": 0, "size": 32}


@pytest.fixture(scope="module")
def project(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Give one copy of the demo's project; the tests change it one after the other."""
    return demo.copy(tmp_path_factory.mktemp("gestures") / "project")


def stages_run(output: str) -> set[str]:
    """Return the stages that a `dvc repro` ran."""
    return set(re.findall(r"Running stage '([^']+)'", output))


def test_repro_again_does_nothing_and_makes_no_request(project: Project) -> None:
    assert project.run("git", "status", "--porcelain") == ""
    before = project.requests()
    output = project.run("dvc", "repro")
    assert stages_run(output) == set()
    assert "up to date" in output
    assert project.requests() == before
    assert project.run("git", "status", "--porcelain") == ""


def test_a_dance_is_added_through_a_kill_and_nothing_is_crawled_twice(project: Project) -> None:
    before = project.requests()
    queries = ("--query", "odissi dance", "--query", "odissi dancer")
    project.run("kalai", "add-dance", "odissi", *queries)
    project.set_params(**{f"train.dances.{key}": value for key, value in SHORT.items()})
    images = project.root / "data/dances/crawl/odissi/images"
    project.kill_repro_when(lambda: images.is_dir() and len(list(images.iterdir())) >= 5)
    kept = {path.name: path.read_bytes() for path in images.iterdir()}
    ledger = images.parent / "ledger.jsonl"
    # A kill between an image's line and its renaming loses that one image, and no other.
    named = [one for one in read_ledger(ledger) if one.outcome == "stored"]
    lost = [one for one in named if one.file_name not in kept]
    at_kill = project.requests()

    output = project.run("dvc", "repro")
    assert stages_run(output) == {
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
    assert not had & set(project.requests()[len(at_kill) :])
    image_urls = {url for url in before if url.endswith((".jpg", ".png"))}
    assert image_urls
    assert not image_urls & set(project.requests()[len(before) :])
    values = json.loads((project.root / "data/dances/reports/evaluate.json").read_text())
    assert values["valid"]["count"] > 0
    assert "odissi" in (project.root / "data/dances/split.csv").read_text()
    changed = project.run("dvc", "metrics", "diff")
    assert "evaluate.json" in changed and "crawl-odissi.json" in changed
    project.commit("Add Odissi")


def test_a_parameter_is_changed_through_a_kill_and_the_diff_shows_it(project: Project) -> None:
    epochs = SHORT["unfrozen_epochs"] + 1
    project.set_params(
        **{
            "train.dances.unfrozen_epochs": epochs,
            "train.dances.checkpoint_s": 0,  # else a fast machine ends before the first one
        }
    )
    before = project.requests()
    checkpoints = project.root / "data/dances/checkpoints"
    old = {path: path.stat().st_mtime_ns for path in checkpoints.rglob("*") if path.is_file()}

    def a_new_epoch_is_saved() -> bool:
        with contextlib.suppress(FileNotFoundError):
            return any(
                path.is_file() and old.get(path) != path.stat().st_mtime_ns
                for path in checkpoints.rglob("*")
                if ".part" not in path.name
            )
        return False

    project.kill_repro_when(a_new_epoch_is_saved)
    output = project.run("dvc", "repro")
    assert stages_run(output) == {"train@dances", "evaluate@dances"}
    assert project.requests() == before
    history = (project.root / "data/dances/reports/train/history.csv").read_text().splitlines()
    assert len(history) == 1 + epochs
    assert "train.dances.unfrozen_epochs" in project.run("dvc", "params", "diff")
    assert "train.json" in project.run("dvc", "metrics", "diff")
    page = project.run("dvc", "plots", "diff", "--out", "plots-page").strip().splitlines()[-1]
    assert page.endswith("index.html")
    assert "history.csv" in (project.root / "plots-page/index.html").read_text(encoding="utf-8")
    project.run("git", "clean", "--quiet", "-fd", "plots-page")
    project.commit("Train one epoch more")


def test_a_random_split_stands_beside_the_official_one(project: Project) -> None:
    short = [f"--set-param=train.tamil.{key}={value}" for key, value in SHORT.items()]
    random = ("-S", "split.tamil.method=random")
    project.run("dvc", "exp", "run", "--name", "flattering", *random, *short)
    columns = "Experiment|.*balanced_accuracy$|.*tamil.method"  # as the README has it
    show = ("dvc", "exp", "show", "--csv", "--no-pager", "--drop", ".*", "--keep", columns)
    rows = list(csv.DictReader(project.run(*show).splitlines()))
    (accuracy,) = (name for name in rows[0] if re.search("tamil.*:test.balanced_accuracy", name))
    (flattering,) = (row for row in rows if row["Experiment"] == "flattering")
    assert flattering["split.tamil.method"] == "random"
    assert 0 < float(flattering[accuracy]) <= 1, "the random split has a test set, too"
    project.run("git", "checkout", "--quiet", "--", ".")
    project.run("dvc", "checkout", "--quiet")
    assert stages_run(project.run("dvc", "repro")) == set()


def test_a_strangers_clone_reads_the_numbers(project: Project, tmp_path: Path) -> None:
    project.run("git", "clone", "--quiet", str(project.root), str(tmp_path / "clone"), at=tmp_path)
    clone = tmp_path / "clone"
    shown = project.run("dvc", "metrics", "show", at=clone)
    for name in ("crawl-kathak", "collect", "convert", "dedupe", "split", "train", "evaluate"):
        assert f"reports/{name}.json" in shown
    assert "evaluate.json" in project.run("dvc", "metrics", "diff", "HEAD~1", at=clone)
    assert "dances.odissi" in project.run("dvc", "params", "diff", "HEAD~2", at=clone)
    assert "index.html" in project.run("dvc", "plots", "show", at=clone)
    assert "evaluate" in project.run("dvc", "exp", "show", "--csv", "--no-pager", at=clone)
    assert "kathak" in project.run("kalai", "status", at=clone)


def test_a_dance_is_removed_and_the_former_numbers_return(project: Project, demo: Demo) -> None:
    assert "odissi" in (project.root / "data/dances/split.csv").read_text()
    shutil.copy(demo.root / "params.yaml", project.root)  # without Odissi, with long training
    before = project.requests()
    stages = stages_run(project.run("dvc", "repro"))
    assert "collect" in stages
    assert not any("crawl" in name for name in stages)
    for name in ("split.csv", "reports/collect.json", "reports/evaluate.json"):
        path = f"data/dances/{name}"
        assert (project.root / path).read_bytes() == (demo.root / path).read_bytes(), path
    assert project.requests() == before
