"""Every architecture of the table makes a network that can be trained, saved and read back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.core.errors import PipelineError
from pipeline.dataset.labels import ClassName
from pipeline.model.architectures import ARCHITECTURES, architecture_of
from pipeline.model.inputs import View
from pipeline.model.network import Card, body_and_head, build, load_model, save_model


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_an_architecture_is_what_its_entry_says(name: str, channels: int, tmp_path: Path) -> None:
    entry = architecture_of(name)
    torch.manual_seed(0)
    network = build(2, channels, architecture=name).eval()
    body, _ = body_and_head(network)
    maps = body(torch.rand(1, channels, 64, 64))
    assert maps.shape[1] == entry.features
    assert entry.stem in body.state_dict() and 0 < entry.split_at < len(body)
    classes = (ClassName("a", "A"), ClassName("b", "B"))
    card = Card(
        classes,
        View(64, 1 if channels == 1 else 3),
        entry.mean[:channels],
        entry.std[:channels],
        architecture=name,
    )
    save_model(tmp_path, network, card)
    again, read = load_model(tmp_path)
    assert read == card
    images = torch.rand(2, channels, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(images), network(images))


def test_an_unknown_architecture_names_the_known_ones() -> None:
    with pytest.raises(PipelineError, match="unknown architecture 'vgg'; allowed: resnet34"):
        architecture_of("vgg")
