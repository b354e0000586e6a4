"""Trainings on drawn shapes that take seconds, and what they write."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pipeline.core.files import read_json
from pipeline.core.params import Augment, Train
from pipeline.dataset.labels import ClassName
from pipeline.dataset.paths import model_folder, plots_folder, report_path
from pipeline.model.architectures import ARCHITECTURES, RESNET34
from pipeline.model.inputs import DecodedImages, View
from pipeline.model.network import MODEL_WEIGHTS, Card
from pipeline.train.loaders import Batches
from pipeline.train.stage import train
from tests.worlds import SHAPES

TINY: dict[str, Any] = {
    "size": 32,
    "batch_size": 24,
    "frozen_epochs": 1,
    "unfrozen_epochs": 2,
    "lr_find_steps": 0,
    "checkpoint_s": 0,
    "device": "cpu",
}
WORLD = {shape: {"train": 12, "valid": 3, "test": 3} for shape in SHAPES}


NUMBERED = Card((ClassName("a", "A"), ClassName("b", "B")), View(8, 1, "pad"), (0.0,), (1.0,))


def batches(
    count: int,
    batch_size: int = 4,
    augmenting: Augment | None = None,
    rank: int = 0,
    ranks: int = 1,
) -> Batches:
    """Return a loader of grey images; the level of each is its number, its class is 0 or 1."""
    pixels = np.arange(count, dtype=np.uint8)[:, None, None, None] + np.zeros(
        (1, 1, 8, 8), np.uint8
    )
    stored = DecodedImages(pixels, np.ones(count, np.float32))
    targets = np.arange(count, dtype=np.int64) % 2
    return Batches(
        stored,
        targets,
        NUMBERED,
        torch.device("cpu"),
        batch_size=batch_size,
        augmenting=augmenting,
        rank=rank,
        ranks=ranks,
    )


def small_body(channels: int) -> nn.Sequential:
    """Return a body of two convolutions with norms."""
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
    )


def use_small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a small body into the table of architectures, for tests that no layer matters to."""
    small = replace(ARCHITECTURES[RESNET34], build_body=small_body, features=16, split_at=3)
    monkeypatch.setitem(ARCHITECTURES, RESNET34, small)


def tiny(**changes: Any) -> Train:
    """Return the params of a training that takes seconds."""
    return Train.model_validate(TINY | changes)


def run(dataset: str = "shapes", **changes: Any) -> dict[str, Any]:
    """Train a dataset of the current folder; return its report."""
    train(dataset, tiny(**changes))
    return dict(read_json(report_path(dataset, "train")))


def weights_of(dataset: str = "shapes") -> dict[str, torch.Tensor]:
    """Return the weights of a dataset's model."""
    return dict(load_file(model_folder(dataset) / MODEL_WEIGHTS))


def history_of(dataset: str = "shapes") -> list[dict[str, str]]:
    """Return the rows of a dataset's history.csv."""
    path = plots_folder(dataset, "train") / "history.csv"
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def are_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Return whether two networks have the same weights, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
