from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from pipeline.core.errors import PipelineError
from pipeline.core.files import read_json
from pipeline.core.params import Evaluate
from pipeline.dataset.labels import ClassName
from pipeline.dataset.predictions import SCHEMA
from pipeline.evaluate.stage import evaluate
from pipeline.model.inputs import View
from pipeline.model.network import Card, build, save_model
from pipeline.train.stage import train
from tests.training import tiny
from tests.worlds import SHAPES, write_world

Project = Callable[..., Path]
CPU = Evaluate(top_losses=9, device="cpu")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def untrained(root: Path, dataset: str, labels: list[str]) -> None:
    torch.manual_seed(0)
    classes = tuple(ClassName(label, label.title()) for label in labels)
    card = Card(classes, View(24), (0.5,) * 3, (0.25,) * 3)
    save_model(root / "data" / dataset / "model", build(len(labels)), card)


def metrics_of(root: Path, dataset: str = "shapes") -> dict[str, Any]:
    return dict(read_json(root / "data" / dataset / "reports" / "evaluate.json"))


def test_it_finds_again_what_the_training_measured(project: Project) -> None:
    root = project()
    write_world(root, "shapes", {shape: {"train": 12, "valid": 5, "test": 4} for shape in SHAPES})
    train("shapes", tiny(precision="fp32", unfrozen_epochs=1))
    evaluate("shapes", CPU)
    found, trained = metrics_of(root), read_json(root / "data/shapes/reports/train.json")
    for name in ("accuracy", "balanced_accuracy"):
        assert found["valid"][name] == pytest.approx(trained["stage_2"][name])
    assert found["temperature"] == trained["temperature"]
    assert (found["valid"]["count"], found["test"]["count"]) == (20, 16)
    assert found["valid"]["loss"] <= trained["stage_2"]["valid_loss"] + 1e-6  # calibrated on it


def test_reports_and_predictions_agree_with_each_other(project: Project) -> None:
    root = project()
    write_world(root, "shapes", {shape: {"train": 2, "valid": 2, "test": 7} for shape in SHAPES})
    untrained(root, "shapes", sorted(SHAPES))
    evaluate("shapes", CPU)
    table = pq.read_table(root / "data" / "shapes" / "predictions.parquet")
    assert table.schema.equals(SCHEMA)
    predictions = table.to_pylist()
    assert [row["part"] for row in predictions].count("test") == 28
    for row in predictions:
        assert row["top3"][0] == row["predicted"] and len(set(row["top3"])) == 3
        assert row["label_probability"] <= row["probability"] <= 1
        assert row["content_id"] and row["sample_id"].startswith(row["label"])
    test = [row for row in predictions if row["part"] == "test"]
    right = sum(row["label"] == row["predicted"] for row in test)
    assert metrics_of(root)["test"]["right"] == right
    folder = root / "data" / "shapes" / "reports" / "evaluate"
    pairs = [(row["actual"], row["predicted"]) for row in rows(folder / "confusion.csv")]
    assert pairs == [(row["label"], row["predicted"]) for row in test]
    confused = rows(folder / "most_confused.csv")
    assert sum(int(row["count"]) for row in confused) == 28 - right
    assert all(row["actual"] != row["predicted"] for row in confused)
    classes = rows(folder / "per_class.csv")
    assert [row["label"] for row in classes] == sorted(SHAPES)
    assert sum(int(row["right"]) for row in classes) == right
    groups = rows(folder / "per_group.csv")
    assert {row["group"] for row in groups} == {f"writer{n}" for n in range(5)}
    assert {row["part"] for row in groups} == {"test"}  # valid has too few of each
    assert sum(int(row["count"]) for row in groups) == 28
    assert sum(int(row["right"]) for row in groups) == right
    spread = metrics_of(root)["test"]["accuracy_by_group"]
    assert spread["count"] == 5 and spread["lowest"] <= spread["median"] <= spread["highest"]
    top = rows(folder / "top_losses.csv")
    assert len(top) == 9
    by_loss = sorted(predictions, key=lambda row: -row["loss"])
    assert {row["sample_id"] for row in top} == {row["sample_id"] for row in by_loss[:9]}
    for name in (folder / "confusion.png", folder / "calibration.png"):
        assert Image.open(name).copy().size > (100, 100)
    assert Image.open(root / "data" / "shapes" / "top_losses.png").copy().size > (100, 100)
    before = {path: path.read_bytes() for path in (root / "data").rglob("*") if path.is_file()}
    evaluate("shapes", CPU)
    assert before == {path: path.read_bytes() for path in before}  # a rerun makes no diff


def test_without_a_test_part_the_valid_part_is_shown(project: Project) -> None:
    root = project()
    write_world(root, "shapes", {shape: {"train": 2, "valid": 3} for shape in SHAPES})
    untrained(root, "shapes", sorted(SHAPES))
    evaluate("shapes", CPU)
    assert metrics_of(root)["test"] == {"count": 0}
    folder = root / "data" / "shapes" / "reports" / "evaluate"
    assert len(rows(folder / "confusion.csv")) == 12


def test_with_nothing_to_judge_it_says_so_and_invents_no_number(project: Project) -> None:
    root = project()
    write_world(root, "shapes", {shape: {"train": 2} for shape in SHAPES})
    untrained(root, "shapes", sorted(SHAPES))
    evaluate("shapes", CPU)
    assert metrics_of(root)["valid"] == metrics_of(root)["test"] == {"count": 0}


def test_a_class_that_the_model_does_not_know_is_one_line(project: Project) -> None:
    root = project()
    write_world(root, "shapes", {shape: {"train": 2, "test": 1} for shape in SHAPES})
    untrained(root, "shapes", ["bars", "disc"])
    with pytest.raises(
        PipelineError, match="test has class cross, which the model was not trained on"
    ):
        evaluate("shapes", CPU)


def test_it_runs_without_fastai(project: Project) -> None:
    project(**{"evaluate.shapes": {}})
    code = (
        "import sys; sys.modules['fastai'] = None\n"
        "from pipeline.evaluate.stage import main\n"
        "from pipeline.commands import predict\n"
        "main(['shapes'])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert "model.json: file not found; run `dvc repro` to train" in run.stderr
