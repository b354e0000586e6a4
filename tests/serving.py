"""Two datasets with untrained models to serve: letters drawn from strokes, and photos."""

from __future__ import annotations

from pathlib import Path

import torch

from pipeline.dataset.labels import ClassName
from pipeline.dataset.pen_settings import PenSettings
from pipeline.model.inputs import View
from pipeline.model.network import Card, build, save_model
from tests.worlds import write_world

LETTERS = (
    ClassName("disc", "க", "ka"),
    ClassName("cross", "ங", "ṅa"),
    ClassName("bars", "ச", "ca"),
)
PHOTOS = (ClassName("disc", "Disc"), ClassName("ring", "<b>Ring</b> & more"))
INK = View(32, 1, "pad", margin=2, trim=True, invert=True)


def write_models(root: Path) -> None:
    """Write the two datasets below `root`."""
    torch.manual_seed(0)
    for dataset, classes, view in (("letters", LETTERS, INK), ("photos", PHOTOS, View(32))):
        write_world(root, dataset, {each.label: {"train": 8, "test": 1} for each in classes})
        card = Card(
            *(classes, view, (0.3,) * view.channels, (0.3,) * view.channels),
            drawing=PenSettings() if dataset == "letters" else None,
        )
        network = build(len(classes), view.channels)
        save_model(root / "data" / dataset / "model", network, card)
