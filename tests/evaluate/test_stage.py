"""Metrics, tables, plots and predictions of an evaluation agree with each other."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.charts.contact_sheet import Cell, draw_cells
from pipeline.core.errors import PipelineError
from pipeline.core.files import read_json
from pipeline.core.params import Evaluate
from pipeline.dataset.labels import ClassName
from pipeline.dataset.paths import model_folder, plots_folder, report_path, sheet_path
from pipeline.dataset.predictions import SCHEMA
from pipeline.dataset.stored_images import read_images
from pipeline.evaluate.plots import draw_confusion
from pipeline.evaluate.stage import evaluate
from pipeline.model.inputs import View
from pipeline.model.network import Card, build, save_model
from pipeline.train.stage import train
from tests.training import tiny, use_small_network
from tests.worlds import SHAPES, write_world

Project = Callable[..., Path]
CPU = Evaluate(top_losses=9, device="cpu")


@pytest.fixture(autouse=True)
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluate two convolutions, in one thread."""
    torch.set_num_threads(1)
    use_small_network(monkeypatch)


def rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV."""
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def write_untrained(dataset: str, labels: list[str]) -> None:
    """Write an untrained model whose probabilities differ between classes."""
    torch.manual_seed(0)
    network = build(len(labels))
    torch.nn.init.normal_(network[1][8].weight)  # type: ignore[index]
    classes = tuple(ClassName(label, label.title()) for label in labels)
    save_model(model_folder(dataset), network, Card(classes, View(24), (0.5,) * 3, (0.25,) * 3))


def metrics_of(dataset: str = "shapes") -> dict[str, Any]:
    """Return evaluate.json."""
    return dict(read_json(report_path(dataset, "evaluate")))


def test_an_evaluation_finds_the_metrics_of_the_training(project: Project) -> None:
    root = project()
    write_world(root, "shapes", {shape: {"train": 12, "valid": 5, "test": 4} for shape in SHAPES})
    train("shapes", tiny(precision="fp32", unfrozen_epochs=1))
    evaluate("shapes", CPU)
    found, trained = metrics_of(), read_json(report_path("shapes", "train"))
    for name in ("accuracy", "balanced_accuracy"):
        assert found["valid"][name] == pytest.approx(trained["stage_2"][name])
    assert found["temperature"] == trained["temperature"]
    assert (found["valid"]["count"], found["test"]["count"]) == (20, 16)
    assert found["valid"]["loss"] <= trained["stage_2"]["valid_loss"] + 1e-6  # calibrated on it


def test_reports_and_predictions_agree_with_each_other(project: Project) -> None:
    root = project()
    write_world(root, "shapes", {shape: {"train": 2, "valid": 2, "test": 7} for shape in SHAPES})
    write_untrained("shapes", sorted(SHAPES))
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
    assert metrics_of()["test"]["right"] == right
    folder = plots_folder("shapes", "evaluate")
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
    spread = metrics_of()["test"]["accuracy_by_group"]
    assert spread["count"] == 5 and spread["lowest"] <= spread["median"] <= spread["highest"]
    top = rows(folder / "top_losses.csv")
    assert len(top) == 9
    by_loss = sorted(predictions, key=lambda row: -row["loss"])
    assert {row["sample_id"] for row in top} == {row["sample_id"] for row in by_loss[:9]}
    matrix = np.zeros((4, 4), np.int64)
    for actual, predicted in pairs:
        matrix[sorted(SHAPES).index(actual), sorted(SHAPES).index(predicted)] += 1
    names = [shape.title() for shape in sorted(SHAPES)]
    title = "Confusion matrix: test set, 28 samples"
    draw_confusion(root / "expected.png", matrix, names, title)
    assert (folder / "confusion.png").read_bytes() == (root / "expected.png").read_bytes()
    images = read_images("shapes", [row["sample_id"] for row in top])
    cells = []
    for row in top:
        label, predicted = row["label"].title(), row["predicted"].title()
        below = f"predicted {predicted}, {float(row['probability']):.0%}"
        cells.append(Cell(images[row["sample_id"]], (label, below)))
    draw_cells(root / "expected.png", cells)
    assert sheet_path("shapes", "top_losses").read_bytes() == (root / "expected.png").read_bytes()
    before = {path: path.read_bytes() for path in (root / "data").rglob("*") if path.is_file()}
    evaluate("shapes", CPU)
    assert before == {path: path.read_bytes() for path in before}  # a rerun makes no diff


def test_without_a_test_set_the_validation_set_is_shown(project: Project) -> None:
    root = project()
    write_world(root, "shapes", {shape: {"train": 2, "valid": 3} for shape in SHAPES})
    write_untrained("shapes", sorted(SHAPES))
    evaluate("shapes", CPU)
    assert metrics_of()["test"] == {"count": 0}
    folder = plots_folder("shapes", "evaluate")
    assert len(rows(folder / "confusion.csv")) == 12


def test_without_samples_there_is_a_count_and_no_other_metric(project: Project) -> None:
    root = project()
    write_world(root, "shapes", {shape: {"train": 2} for shape in SHAPES})
    write_untrained("shapes", sorted(SHAPES))
    evaluate("shapes", CPU)
    assert metrics_of()["valid"] == metrics_of()["test"] == {"count": 0}


def test_a_class_that_the_model_was_not_trained_on_is_an_error(project: Project) -> None:
    root = project()
    write_world(root, "shapes", {shape: {"train": 2, "test": 1} for shape in SHAPES})
    write_untrained("shapes", ["bars", "disc"])
    with pytest.raises(
        PipelineError, match="test has class cross, which the model was not trained on"
    ):
        evaluate("shapes", CPU)


def test_evaluate_and_predict_need_no_fastai(project: Project) -> None:
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
