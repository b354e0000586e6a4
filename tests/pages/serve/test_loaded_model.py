"""Loading models: only the safe files, and with or without the dataset."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.core.files import write_json
from pipeline.dataset.paths import model_folder, report_path, samples_path, split_path
from pipeline.dataset.pen_settings import PenSettings
from pipeline.dataset.split_table import read_parts
from pipeline.pages.serve.loaded_model import LoadedModel, Measured, load, measured
from pipeline.pages.serve.strokes import Pen

CPU = torch.device("cpu")


def test_only_training_images_are_shown(models_project: Path) -> None:
    letters = load("letters", CPU)
    assert len(letters.images) == 18
    shown = {content_id for ids in letters.samples.values() for content_id in ids}
    assert shown == set(letters.images)
    assert shown <= set(read_parts("letters")["train"].content_ids)


def test_a_model_is_served_without_its_dataset(models_project: Path) -> None:
    for path in (samples_path("letters"), split_path("letters")):
        path.unlink()
    alone = load("letters", CPU)
    assert alone.pen == Pen(PenSettings())
    assert not alone.samples
    assert alone.measured is None


def test_nothing_is_unpickled(models_project: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (Path("exploded"),)

    (model_folder("letters") / "export.pkl").write_bytes(pickle.dumps(Bomb()))
    load("letters", CPU)
    assert not Path("exploded").exists()


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ({}, None),
        (
            {"valid": {"count": 10, "accuracy": 0.9}, "test": {"count": 0}},
            Measured("validation set", 10, 0.9),
        ),
        (
            {"valid": {"count": 10, "accuracy": 0.9}, "test": {"count": 7, "accuracy": 0.8}},
            Measured("test set", 7, 0.8),
        ),
    ],
)
def test_the_accuracy_is_of_the_test_set_if_there_is_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    report: Mapping[str, Any],
    expected: Measured | None,
) -> None:
    monkeypatch.chdir(tmp_path)
    if report:
        write_json(report_path("letters", "evaluate"), report)
    assert measured("letters") == expected


def test_a_model_of_photos_has_no_pen(models: Mapping[str, LoadedModel]) -> None:
    assert models["letters"].pen is not None
    assert models["photos"].pen is None
