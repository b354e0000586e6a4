from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fastai.vision.learner import create_vision_model
from torchvision.models import resnet34

from pipeline.core.errors import PipelineError
from pipeline.dataset.labels import ClassName
from pipeline.model.architectures import ARCHITECTURES, RESNET34
from pipeline.model.inputs import View
from pipeline.model.network import (
    Card,
    body_and_head,
    build,
    load_body,
    load_model,
    predict_logits,
    save_model,
)

CLASSES = (ClassName("a", "Aye"), ClassName("042", "கா", "kā"), ClassName("c", "Sea"))


def card(channels: int = 1) -> Card:
    view = View(32, channels, "pad", margin=2, trim=True, invert=True)  # type: ignore[arg-type]
    return Card(CLASSES, view, (0.1,) * channels, (0.3,) * channels, ((1.0, 0, 0, 0, 1, 0),), 1.5)


@pytest.mark.parametrize("channels", [1, 3])
def test_weights_have_fastais_names_and_shapes(channels: int) -> None:
    ours = build(7, channels).state_dict()
    theirs = create_vision_model(resnet34, 7, pretrained=False, n_in=channels).state_dict()
    assert {name: value.shape for name, value in ours.items()} == {
        name: value.shape for name, value in theirs.items()
    }


def test_our_head_computes_what_fastais_head_does() -> None:
    torch.manual_seed(0)
    ours, theirs = build(7), create_vision_model(resnet34, 7, pretrained=False)
    theirs.load_state_dict(ours.state_dict())
    images = torch.rand(3, 3, 48, 48)
    ours.eval(), theirs.eval()
    with torch.no_grad():
        assert torch.allclose(ours(images), theirs(images), atol=1e-5)


def test_torchvisions_weights_and_our_own_are_loaded_into_the_body() -> None:
    published = resnet34(weights=None).state_dict()
    network = build(2)
    load_body(network, published, "published.pth", ARCHITECTURES[RESNET34])
    body, _ = body_and_head(network)
    assert torch.equal(body.state_dict()["0.weight"], published["conv1.weight"])
    assert torch.equal(body.state_dict()["7.2.bn2.weight"], published["layer4.2.bn2.weight"])
    grey = build(2, channels=1)
    load_body(grey, published, "published.pth", ARCHITECTURES[RESNET34])
    stem = body_and_head(grey)[0].state_dict()["0.weight"]
    assert torch.allclose(stem, published["conv1.weight"].sum(1, keepdim=True))
    again = build(2)
    load_body(again, network.state_dict(), "ours.safetensors", ARCHITECTURES[RESNET34])
    assert torch.equal(body_and_head(again)[0].state_dict()["0.weight"], stem_of(network))


def stem_of(network: torch.nn.Sequential) -> torch.Tensor:
    return body_and_head(network)[0].state_dict()["0.weight"]


@pytest.mark.parametrize("wrong", [{}, {"0.0.weight": torch.zeros(1, 1, 1, 1)}])
def test_weights_of_another_architecture_are_an_error(wrong: dict[str, torch.Tensor]) -> None:
    with pytest.raises(PipelineError, match=r"other\.pth: weights are not for resnet34"):
        load_body(build(2), wrong, "other.pth", ARCHITECTURES[RESNET34])


def test_a_model_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = build(3, channels=1).eval()
    save_model(tmp_path, network, card())
    back, read = load_model(tmp_path)
    assert read == card()
    pixels = np.random.default_rng(0).integers(0, 255, (5, 1, 32, 32), np.uint8)
    cpu = torch.device("cpu")
    ours = predict_logits(network, pixels, card(), cpu)
    assert (predict_logits(back, pixels, read, cpu, batch_size=5) == ours).all()
    assert "கா" in (tmp_path / "model.json").read_text(encoding="utf-8")


def test_predictions_do_not_depend_on_the_batch() -> None:
    network = build(3, channels=1).eval()
    pixels = np.random.default_rng(0).integers(0, 255, (7, 1, 32, 32), np.uint8)
    cpu = torch.device("cpu")
    whole = predict_logits(network, pixels, card(), cpu)
    assert np.allclose(whole, predict_logits(network, pixels, card(), cpu, 3), atol=1e-5)
    assert predict_logits(network, pixels[:0], card(), cpu).shape == (0, 3)


def test_a_missing_or_damaged_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"model\.json: file not found; run `dvc repro`"):
        load_model(tmp_path / "nowhere")
    save_model(tmp_path, build(3, channels=1), card())
    path = tmp_path / "model.json"
    whole = path.read_text(encoding="utf-8")
    for text in ("{", "[]", "{}", whole.replace('"margin"', '"marg1n"')):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(PipelineError, match="model is damaged or was not written by kalai"):
            load_model(tmp_path)
    path.write_text(json.dumps(json.loads(whole) | {"format": 99}), encoding="utf-8")
    with pytest.raises(PipelineError, match="written by another version"):
        load_model(tmp_path)
    path.write_text(whole, encoding="utf-8")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(PipelineError, match="model is damaged or was not written by kalai"):
        load_model(tmp_path)


def test_logits_are_the_mean_over_views_and_the_plain_view_changes_nothing() -> None:
    network = build(3, channels=1).eval()
    pixels = np.random.default_rng(0).integers(0, 255, (4, 1, 32, 32), np.uint8)
    cpu = torch.device("cpu")
    plain, mirrored = (1.0, 0, 0, 0, 1, 0), (-1.0, 0, 0, 0, 1, 0)
    alone = predict_logits(network, pixels, card(), cpu)
    through = [
        predict_logits(network, pixels, replace(card(), tta=views), cpu)
        for views in [(plain,), (mirrored,), (plain, mirrored)]
    ]
    assert np.allclose(alone, through[0], atol=1e-4)
    other = predict_logits(network, pixels[..., ::-1], card(), cpu)
    assert np.allclose(other, through[1], atol=1e-4)
    assert np.allclose((alone + other) / 2, through[2], atol=1e-4)
