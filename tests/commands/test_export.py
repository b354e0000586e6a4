"""What is exported answers as torch does, and says all that is needed to use it."""

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

from pipeline.commands import export
from pipeline.commands.export import main
from pipeline.core.params import Augment
from pipeline.dataset.labels import ClassName
from pipeline.model.inputs import View, decode
from pipeline.model.metrics import softmax
from pipeline.model.network import Card, build, load_model, predict_logits, save_model
from pipeline.train.augment import fixed_views
from tests.worlds import SHAPES, draw_shape, write_world

Project = Callable[..., Path]

# A stranger's machine has onnxruntime and neither torch nor kalai.
STRANGER = """
import json, sys
sys.modules["pipeline"] = sys.modules["torch"] = None
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession("shapes.onnx")
answers = session.run(["probabilities"], {"pictures": np.load("pictures.npy")})[0]
print(json.dumps([answers.tolist(), session.get_modelmeta().custom_metadata_map]))
"""


def modelled(root: Path, **changes: Any) -> Card:
    """Write a small dataset with an untrained model whose answers are far from even."""
    write_world(root, "shapes", {shape: {"train": 1, "test": 1} for shape in SHAPES})
    torch.manual_seed(0)
    classes = tuple(ClassName(shape, shape.title()) for shape in SHAPES)
    card = Card(classes, View(32, 1, "pad"), (0.2,), (0.3,), temperature=0.5, **changes)
    network = build(4, channels=1)
    last = [layer for layer in network.modules() if isinstance(layer, torch.nn.Linear)][-1]
    torch.nn.init.normal_(last.weight, std=0.1)
    save_model(root / "data" / "shapes" / "model", network, card)
    return card


@pytest.mark.parametrize("tta", [(), fixed_views(Augment(rotate=30, zoom=0.3))])
def test_a_stranger_with_onnxruntime_alone_gets_our_answers(project: Project, tta: Any) -> None:
    root = project()
    card = modelled(root, tta=tta, made={"kalai": "0"})
    done = CliRunner().invoke(main, ["shapes", "shapes.onnx"])
    assert done.exit_code == 0, done.output
    assert "on 8 pictures its probabilities are torch's within" in done.stdout
    assert sorted(path.name for path in root.iterdir()) == ["data", "params.yaml", "shapes.onnx"]
    pixels = np.stack([decode(draw_shape(shape, 9), card.view)[0] for shape in SHAPES * 3])
    network, _ = load_model(root / "data" / "shapes" / "model")
    logits = predict_logits(network, pixels, card, torch.device("cpu"))
    ours = softmax(logits, card.temperature)
    np.save("pictures.npy", pixels)
    theirs, told = json.loads(subprocess.check_output([sys.executable, "-c", STRANGER], text=True))
    assert np.allclose(theirs, ours, atol=1e-4) and ours.std() > 0.01
    told = {key: json.loads(value) for key, value in told.items()}
    assert told["labels"] == list(SHAPES) and told["names"][0] == "Disc"
    assert told["view"]["size"] == 32 and told["view"]["fit"] == "pad"
    assert (told["mean"], told["std"], told["made"]) == ([0.2], [0.3], {"kalai": "0"})


def test_one_that_answers_otherwise_is_not_given_out(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project()
    modelled(root)
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    done = CliRunner().invoke(main, ["shapes", "shapes.onnx"])
    assert done.exit_code == 1 and "probabilities differ from torch's by" in done.stderr
    assert sorted(path.name for path in root.iterdir()) == ["data", "params.yaml"]


def test_without_the_extra_or_a_model_it_says_so_in_a_line(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project()
    done = CliRunner().invoke(main, ["shapes", "shapes.onnx"])
    assert done.exit_code == 1 and "no trained model" in done.stderr
    monkeypatch.setattr(sys, "meta_path", [])  # nothing is found that is not loaded
    for name in ("onnx", "onnxscript", "onnxruntime"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    done = CliRunner().invoke(main, ["shapes", "shapes.onnx"])
    assert done.stderr == "error: onnx is not installed; run: pip install 'kalai[onnx]'\n"
