"""What the next `dvc repro` does to a dataset, after decisions and other changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner

from pipeline.dataset.paths import LOCK, decisions_path, report_path, split_path
from pipeline.dataset.split_table import SplitRow, read_split
from pipeline.pages.review.dvc_lock import file_md5
from pipeline.pages.review.next_run import STAGES, changes_between
from pipeline.split import stage as split
from tests.reviewing import NAME, Client, decision


def write_lock() -> None:
    """Write dvc.lock as a run of the three stages leaves it (test_dvc_lock runs DVC itself)."""
    deps = {"split": decisions_path, "train": split_path, "evaluate": split_path}
    values = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    stages: dict[str, Any] = {}
    for name in STAGES:
        path = deps[name](NAME)
        dep = {"path": str(path), "md5": file_md5(path), "size": path.stat().st_size}
        params = {f"split.{NAME}": values["split"][NAME]} if name == "split" else {}
        stages[f"{name}@{NAME}"] = {"deps": [dep], "params": {"params.yaml": params}}
    LOCK.write_text(yaml.safe_dump({"stages": stages}), encoding="utf-8")


def test_decisions_change_the_next_run(client: Client) -> None:
    first = client.get("/next")
    assert first["stages"] == list(STAGES), "DVC has not run yet"
    write_lock()
    assert client.get("/next")["summary"] == "nothing to run, the split applies every decision"
    by_part = {row.part: row.content_id for row in read_split(NAME)}
    client.decide(*(decision(by_part[part], "delete") for part in ("train", "valid", "test")))
    next_run = client.get("/next")
    assert next_run["stages"] == list(STAGES)
    assert next_run["changes"][:3] == [
        "1 image leaves the test set",
        "1 image leaves the training set",
        "1 image leaves the validation set",
    ]
    assert next_run["touching"] == {"train": 1, "valid": 1, "test": 1}

    assert CliRunner().invoke(split.main, [NAME]).exit_code == 0
    next_run = client.get("/next")
    assert next_run["stages"] == list(STAGES), "train has not run since"
    assert next_run["touching"] == {"train": 1, "valid": 1, "test": 1}, "where they would be"
    report = json.loads(report_path(NAME, "split").read_text(encoding="utf-8"))
    assert report["decisions"]["touching"] == next_run["touching"]
    write_lock()
    assert client.get("/next")["stages"] == []
    client.decide(decision(by_part["train"], "keep"))
    assert client.get("/next")["changes"][0] == "1 image joins the training set"
    client.post("/undo", {"version": client.get("/state")["version"]})
    assert client.get("/next")["summary"] == "split with the same result, so no training"


def test_params_and_failures_change_the_next_run(client: Client) -> None:
    write_lock()
    values = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(values.replace("remove_within: 4", "remove_within: 3"))
    assert client.get("/next")["stages"] == [], "it is a param of no stage in dvc.lock"
    kathak = [row.content_id for row in read_split(NAME) if row.label == "kathak"]
    client.decide(*(decision(content_id, "delete") for content_id in kathak[:-1]))
    next_run = client.get("/next")
    assert (next_run["stages"], next_run["summary"]) == (["split"], "split, which will fail")
    assert "kathak" in next_run["problem"]
    client.decide(decision(kathak[0], "relabel", "odissi"))
    assert "kathak" in client.get("/next")["problem"]
    LOCK.write_text("stages: [", encoding="utf-8")
    client.post("/undo", {"version": client.get("/state")["version"]})
    client.post("/undo", {"version": client.get("/state")["version"]})
    answer = client.http.get("/next")
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("dvc.lock: not YAML; run `git checkout dvc.lock`")


def test_changes_are_counted_by_kind() -> None:
    def row(name: str, label: str, part: str) -> SplitRow:
        return SplitRow(name, name, label, part, "", "")

    before = [row("a", "x", "train"), row("b", "x", "train"), row("c", "x", "out")]
    after = [row("a", "y", "valid"), row("b", "y", "train"), row("c", "x", "test")]
    assert changes_between(before, [*after, row("new", "x", "test")]) == [
        "2 images join the test set",
        "2 images change class",
        "1 image moves to another set",
    ]
    assert changes_between(before, before) == []
