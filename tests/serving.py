"""A small world to serve: letters that were drawn from strokes, and photos."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from pipeline.dataset.labels import ClassName
from pipeline.dataset.pen_settings import PenSettings
from pipeline.model.inputs import View
from pipeline.model.network import Card, build, save_model
from pipeline.pages.local import LocalPage
from pipeline.pages.serve.page import make_page
from pipeline.pages.serve.served import Served, load
from tests.worlds import write_world

LETTERS = (
    ClassName("disc", "க", "ka"),
    ClassName("cross", "ங", "ṅa"),
    ClassName("bars", "ச", "ca"),
)
PHOTOS = (ClassName("disc", "Disc"), ClassName("ring", "<b>Ring</b> & more"))
INK = View(32, 1, "pad", margin=2, trim=True, invert=True)


def write_models(root: Path) -> None:
    """Write two datasets with untrained models below `root`."""
    torch.manual_seed(0)
    for dataset, classes, view in (("letters", LETTERS, INK), ("photos", PHOTOS, View(32))):
        write_world(root, dataset, {each.label: {"train": 8, "test": 1} for each in classes})
        card = Card(
            *(classes, view, (0.3,) * view.channels, (0.3,) * view.channels),
            drawing=PenSettings() if dataset == "letters" else None,
        )
        network = build(len(classes), view.channels)
        save_model(root / "data" / dataset / "model", network, card)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Served]:
    """Give the two models, loaded."""
    root, before = tmp_path_factory.mktemp("serve"), Path.cwd()
    write_models(root)
    os.chdir(root)  # data lies below the current folder; monkeypatch lives for one test only
    try:
        device = torch.device("cpu")
        return {name: load(name, device) for name in ("letters", "photos")}
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def page(served: Mapping[str, Served]) -> LocalPage:
    """Give the page of both."""
    return make_page(list(served.values()))
