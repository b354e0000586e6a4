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

# Run where kalai cannot be imported, as on a user's machine.
ELSEWHERE = """
import json, sys, warnings
warnings.simplefilter("ignore")
sys.modules["pipeline"] = None
from fastai.learner import load_learner
from fastai.vision.core import PILImage
found = {}
for channels in "13":
    learner = load_learner(f"{channels}/export.pkl")
    answers = [learner.predict("a.png"), learner.predict(PILImage.create("a.png"))]
    modules = {type(module).__module__.split(".")[0] for module in learner.model.modules()}
    found[channels] = [[str(a[0]), a[2].tolist()] for a in answers] + [sorted(modules)]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_fastai_without_kalai_gives_our_probabilities(tmp_path: Path) -> None:
    torch.manual_seed(0)
    classes = tuple(ClassName(label, label) for label in ("zebra", "042", "ape"))  # our order
    data = draw_shape("ring", 1)
    (tmp_path / "a.png").write_bytes(data)
    expected = {}
    for channels in (1, 3):
        view = View(32, channels, "pad", margin=2, trim=True, invert=True)
        card = Card(classes, view, (0.2,) * channels, (0.3,) * channels)
        network = build(3, channels).eval()
        torch.nn.init.normal_(network[1][8].weight)  # type: ignore[index]  # else all are alike
        folder = tmp_path / str(channels)
        folder.mkdir()
        export(folder / "export.pkl", network, card)
        assert [path.name for path in folder.iterdir()] == ["export.pkl"]
        pixels = decode(data, view)[0][None]
        logits = predict_logits(network, pixels, card, torch.device("cpu"))
        expected[str(channels)] = softmax(logits)[0]
    run = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    found = json.loads(run.stdout.splitlines()[-1])
    for name, ours in expected.items():
        by_path, by_image, modules = found[name]
        assert ours.max() > 0.4, "all classes are as likely"
        assert by_path[0] == by_image[0] == classes[int(ours.argmax())].label
        assert np.allclose(by_path[1], ours, atol=1e-4)
        assert np.allclose(by_image[1], ours, atol=1e-4)
        assert modules == ["fastai", "torch", "torchvision"]
