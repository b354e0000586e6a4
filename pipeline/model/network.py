"""The network, and the safe form of a trained model: safetensors + JSON, torch without fastai."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from pipeline.core.errors import PipelineError
from pipeline.core.files import read_json, write_json
from pipeline.dataset.labels import ClassName
from pipeline.dataset.pen_settings import PenSettings
from pipeline.model.inputs import Pixels, View
from pipeline.model.small_convs import SmallMaps

FORMAT = 1  # of model.json
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # what the published weights expect


class ConcatPool(nn.Module):
    """Maximum and mean over the picture, side by side: (n, c, h, w) -> (n, 2c, 1, 1)."""

    def forward(self, features: Tensor) -> Tensor:
        """Pool."""
        return torch.cat([features.amax((2, 3), True), features.mean((2, 3), True)], 1)


def build(classes: int, channels: int = 3, dropout: float = 0.5) -> nn.Sequential:
    """Return ResNet34's body and fastai's head, untrained, with fastai's names of weights.

    `channels` 1 gives a stem of one channel. Input is (n, channels, h, w), output logits.
    """
    from torchvision.models import resnet34

    whole = resnet34(weights=None, zero_init_residual=True)  # each block begins as the identity
    if channels != 3:
        whole.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(whole.conv1.weight, mode="fan_out", nonlinearity="relu")
    hidden, last = nn.Linear(1024, 512, bias=False), nn.Linear(512, classes, bias=False)
    nn.init.kaiming_normal_(hidden.weight)
    # All classes are equally likely at first. fastai's draws here begin far worse than that, and
    # with 156 classes and dropout the first hundreds of steps only unlearn them.
    nn.init.zeros_(last.weight)
    head = nn.Sequential(
        ConcatPool(),
        nn.Flatten(),
        nn.BatchNorm1d(1024),
        nn.Dropout(dropout / 2),
        hidden,
        nn.ReLU(inplace=True),
        nn.BatchNorm1d(512),
        nn.Dropout(dropout),
        last,
    )
    return nn.Sequential(nn.Sequential(*list(whole.children())[:-2]), head)


def body_and_head(network: nn.Sequential) -> tuple[nn.Sequential, nn.Sequential]:
    """Return the two halves of what `build` built."""
    body, head = network
    assert isinstance(body, nn.Sequential) and isinstance(head, nn.Sequential)
    return body, head


def load_body(network: nn.Sequential, state: Mapping[str, Tensor], name: str) -> None:
    """Put ResNet34 weights into the body: torchvision's file, or a model of kalai's.

    A stem of one channel takes the sum over the three colours. Raises PipelineError naming the
    file (`name`) when these are not ResNet34's weights.
    """
    into, _ = body_and_head(network)
    if "conv1.weight" in state:  # torchvision's names; children are numbered in this order
        order = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
        body = {
            f"{order.index(key.split('.')[0])}.{key.split('.', 1)[1]}": value
            for key, value in state.items()
            if key.split(".")[0] in order
        }
    else:
        body = {key[2:]: value for key, value in state.items() if key.startswith("0.")}
    stem = body.get("0.weight")
    if stem is not None and stem.shape[1] == 3 and into.state_dict()["0.weight"].shape[1] == 1:
        body["0.weight"] = stem.sum(1, keepdim=True)
    try:
        into.load_state_dict(body)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise PipelineError(f"{name}: not the weights of a ResNet34: {first}") from error


@dataclass(frozen=True)
class Card:
    """All that is needed to use a model, and what it was made from."""

    classes: tuple[ClassName, ...]
    view: View
    mean: tuple[float, ...]  # of the channels, of values from 0 to 1
    std: tuple[float, ...]
    tta: tuple[tuple[float, ...], ...] = ()  # windows, 2 x 3 each, that are averaged; (): plain
    temperature: float = 1.0  # divides the logits; fitted on the validation part
    drawing: PenSettings | None = None  # how pen files become pictures for it; None: they do not
    made: dict[str, Any] = field(default_factory=dict)  # data, versions, seed, metrics


def save_model(folder: Path, network: nn.Module, card: Card) -> None:
    """Write `model.safetensors` and `model.json` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.contiguous().cpu() for name, value in network.state_dict().items()}
    (folder / "model.safetensors").write_bytes(save(state))  # save_file makes it private
    write_json(folder / "model.json", {"format": FORMAT, "architecture": "resnet34"} | asdict(card))


def load_model(folder: Path) -> tuple[nn.Sequential, Card]:
    """Read a model back, ready to predict on the CPU; nothing is unpickled.

    Raises PipelineError when a file is missing or damaged.
    """
    path = folder / "model.json"
    try:
        values = read_json(path)
        if values.pop("format") != FORMAT or values.pop("architecture") != "resnet34":
            raise PipelineError(f"{path}: made by another version of kalai; train again")
        classes = tuple(ClassName(**row) for row in values.pop("classes"))
        drawing = values.pop("drawing", None)
        card = Card(
            classes=classes,
            drawing=None if drawing is None else PenSettings(**drawing),
            view=View(**values.pop("view")),
            mean=tuple(values.pop("mean")),
            std=tuple(values.pop("std")),
            tta=tuple(tuple(window) for window in values.pop("tta")),
            **values,
        )
        network = build(len(card.classes), card.view.channels)
        network.load_state_dict(load_file(folder / "model.safetensors"))
    except FileNotFoundError as error:
        raise PipelineError(
            f"{error.filename or folder}: no trained model; run `dvc repro`, or `dvc checkout` for "
            "the last one where a run has failed"
        ) from error
    except (json.JSONDecodeError, KeyError, TypeError, SafetensorError, RuntimeError) as error:
        raise PipelineError(f"{folder}: not a model of kalai's: {error}") from error
    return network.eval(), card


def normaliser(card: Card, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return scale and shift that turn uint8 values into what the network expects."""
    mean, std = (
        torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (card.mean, card.std)
    )
    return 1 / (255 * std), -mean / std


@torch.inference_mode()
def predict_logits(
    network: nn.Module, pixels: Pixels, card: Card, device: torch.device, batch_size: int = 256
) -> NDArray[np.float32]:
    """Return (count, classes) logits of (count, channels, size, size) uint8 pictures.

    The mean over the card's windows, if it has any (test-time augmentation). float32 throughout:
    the same numbers on every machine, up to rounding.
    """
    network = network.to(device).eval()
    if device.type != "mps":  # which gains nothing by it; a CPU gains a fifth
        network = network.to(memory_format=torch.channels_last)
    scale, shift = normaliser(card, device)
    logits = np.empty((len(pixels), len(card.classes)), np.float32)
    for start in range(0, len(pixels), batch_size):
        batch = torch.from_numpy(np.array(pixels[start : start + batch_size])).to(device)
        with SmallMaps() if device.type == "cpu" else nullcontext():
            looks = [
                network(seen * scale + shift).float()
                for seen in windows(batch, card.tta, card.view)
            ]
        logits[start : start + batch_size] = torch.stack(looks).mean(0).cpu().numpy()
    return logits


def outside(view: View) -> str:
    """Say what comes in from outside a picture: nothing where it is padded, else its mirror."""
    return "zeros" if view.fit == "pad" else "reflection"


def windows(batch: Tensor, tta: tuple[tuple[float, ...], ...], view: View) -> Iterator[Tensor]:
    """Give a batch as it is, or as it looks through each window."""
    if not tta:
        yield batch
    for window in tta:
        theta = torch.tensor(window, device=batch.device).view(1, 2, 3)
        grid = nn.functional.affine_grid(theta, [1, *view.shape], align_corners=False)
        grid = grid.expand(batch.shape[0], -1, -1, -1)  # not len(): an export must not fix it
        yield nn.functional.grid_sample(
            batch.float(), grid, mode="bilinear", padding_mode=outside(view), align_corners=False
        )
