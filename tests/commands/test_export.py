"""An exported model gives torch's probabilities, and its metadata holds all that a user needs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from pipeline.commands import export
from pipeline.commands.export import main, write_checked
from pipeline.core.errors import PipelineError
from pipeline.core.params import Augment
from pipeline.dataset.labels import ClassName
from pipeline.model.inputs import Pixels, View, decode
from pipeline.model.metrics import softmax
from pipeline.model.network import Card, build, load_model, predict_logits, save_model
from pipeline.train.augment import fixed_views
from tests.worlds import SHAPES, draw_shape, write_world

Project = Callable[..., Path]

# Run where neither torch nor kalai can be imported, as on a user's machine.
ELSEWHERE = """
import json, sys
sys.modules["pipeline"] = sys.modules["torch"] = None
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession("shapes.onnx")
answers = session.run(["probabilities"], {"pictures": np.load("pictures.npy")})[0]
print(json.dumps([answers.tolist(), session.get_modelmeta().custom_metadata_map]))
"""


def card_of(**changes: Any) -> Card:
    classes = tuple(ClassName(shape, shape.title()) for shape in SHAPES)
    return Card(classes, View(32, 1, "pad"), (0.2,), (0.3,), temperature=0.5, **changes)


def images(card: Card) -> Pixels:
    return np.stack([decode(draw_shape(shape, 9), card.view)[0] for shape in SHAPES * 3])


def elsewhere(pixels: Pixels) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the probabilities and the metadata of shapes.onnx."""
    np.save("pictures.npy", pixels)
    found = subprocess.check_output([sys.executable, "-c", ELSEWHERE], text=True)
    theirs, metadata = json.loads(found)
    return np.array(theirs), {key: json.loads(value) for key, value in metadata.items()}


@pytest.mark.slow
def test_an_exported_model_runs_without_torch(project: Project) -> None:
    root = project()
    write_world(root, "shapes", {shape: {"train": 1, "test": 1} for shape in SHAPES})
    torch.manual_seed(0)
    card = card_of(made={"kalai": "0"})
    network = build(4, channels=1)
    last = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
    nn.init.normal_(last.weight, std=0.1)  # so that the probabilities differ
    save_model(root / "data" / "shapes" / "model", network, card)
    done = CliRunner().invoke(main, ["shapes", "shapes.onnx"])
    assert done.exit_code == 0, done.output
    assert "shapes.onnx: " in done.stdout and "4 classes" in done.stdout
    assert done.stdout.endswith("on 8 images\n")
    assert sorted(path.name for path in root.iterdir()) == ["data", "params.yaml", "shapes.onnx"]
    loaded, _ = load_model(root / "data" / "shapes" / "model")
    pixels = images(card)
    logits = predict_logits(loaded, pixels, card, torch.device("cpu"))
    ours = softmax(logits, card.temperature)
    theirs, metadata = elsewhere(pixels)
    assert np.allclose(theirs, ours, atol=1e-4) and ours.std() > 0.01
    assert metadata["labels"] == list(SHAPES) and metadata["names"][0] == "Disc"
    assert metadata["view"]["size"] == 32 and metadata["view"]["fit"] == "pad"
    assert (metadata["mean"], metadata["std"], metadata["made"]) == ([0.2], [0.3], {"kalai": "0"})


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(392, 4)
    ).eval()


@pytest.mark.slow
@pytest.mark.parametrize("tta", [(), fixed_views(Augment(rotate=30, zoom=0.3))])
def test_test_time_augmentation_is_part_of_the_file(project: Project, tta: Any) -> None:
    project()
    network, card = small_network(), card_of(tta=tta)
    pixels = images(card)
    assert 0 <= write_checked(Path("shapes.onnx"), network, card, pixels) <= 1e-5
    logits = predict_logits(network, pixels, card, torch.device("cpu"))
    ours = softmax(logits, card.temperature)
    theirs, _ = elsewhere(pixels)
    assert np.allclose(theirs, ours, atol=1e-4) and ours.std() > 0.01


def test_a_file_with_other_probabilities_is_not_written(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project()
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    card = card_of()
    with pytest.raises(PipelineError, match="not written; its probabilities differ from torch's"):
        write_checked(Path("shapes.onnx"), small_network(), card, images(card))
    assert sorted(path.name for path in root.iterdir()) == ["data", "params.yaml"]


def test_a_missing_model_and_a_missing_extra_are_one_line(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    done = CliRunner().invoke(main, ["tamil", "shapes.onnx"])
    assert done.exit_code == 1 and done.stderr.startswith("error: data/tamil/model")
    assert done.stderr.count("\n") == 1
    monkeypatch.setattr(sys, "meta_path", [])  # only loaded modules are found
    for name in ("onnx", "onnxscript", "onnxruntime"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    done = CliRunner().invoke(main, ["tamil", "shapes.onnx"])
    assert done.stderr == "error: onnx is not installed; run: pip install 'kalai[onnx]'\n"
