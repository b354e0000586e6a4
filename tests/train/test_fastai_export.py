from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.dataset.labels import ClassName
from pipeline.model.inputs import View, decode
from pipeline.model.metrics import softmax
from pipeline.model.network import Card, build, predict_logits
from pipeline.train.fastai_export import export
from tests.worlds import draw_shape

# A stranger's machine has fastai and no kalai.
STRANGER = """
import json, sys, warnings
warnings.simplefilter("ignore")
sys.modules["pipeline"] = None
from fastai.learner import load_learner
from fastai.vision.core import PILImage
learner = load_learner("export.pkl")
answers = [learner.predict("a.png"), learner.predict(PILImage.create("a.png"))]
names = {type(module).__module__.split(".")[0] for module in learner.model.modules()}
print(json.dumps([[str(a[0]), a[2].tolist()] for a in answers] + [sorted(names)]))
"""


@pytest.mark.parametrize("channels", [1, 3])
def test_a_stranger_with_fastai_alone_gets_our_answers(tmp_path: Path, channels: int) -> None:
    torch.manual_seed(0)
    classes = tuple(ClassName(label, label) for label in ("zebra", "042", "ape"))  # our order
    view = View(32, channels, "pad", margin=2, trim=True, invert=True)  # type: ignore[arg-type]
    card = Card(classes, view, (0.2,) * channels, (0.3,) * channels)
    network = build(3, channels).eval()
    export(tmp_path / "export.pkl", network, card)
    assert [path.name for path in tmp_path.iterdir()] == ["export.pkl"]
    data = draw_shape("ring", 1)
    (tmp_path / "a.png").write_bytes(data)
    pixels = decode(data, view)[0][None]
    ours = softmax(predict_logits(network, pixels, card, torch.device("cpu")))[0]
    run = subprocess.run(
        [sys.executable, "-c", STRANGER], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    by_path, by_image, modules = json.loads(run.stdout.splitlines()[-1])
    assert by_path[0] == by_image[0] == classes[int(ours.argmax())].label
    assert np.allclose(by_path[1], ours, atol=1e-4) and np.allclose(by_image[1], ours, atol=1e-4)
    assert modules == ["fastai", "torch", "torchvision"]
