"""The network, and a trained model on disk: safetensors and JSON, read without pickle or fastai."""

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
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.core.errors import PipelineError
from pipeline.core.files import read_json, write_json
from pipeline.dataset.labels import ClassName
from pipeline.dataset.pen_settings import PenSettings
from pipeline.model.architectures import RESNET34, Architecture, architecture_of
from pipeline.model.inputs import Pixels, View
from pipeline.model.small_convs import SmallConvs

FORMAT = 1  # version of model.json's format
MODEL_JSON, MODEL_WEIGHTS = "model.json", "model.safetensors"
HIDDEN = 512  # width of the head's hidden layer


class ConcatPool(nn.Module):
    """Concatenate the maximum and the mean over an image: (n, c, h, w) -> (n, 2c, 1, 1)."""

    def forward(self, features: Tensor) -> Tensor:
        """Return the pooled features."""
        return torch.cat([features.amax((2, 3), True), features.mean((2, 3), True)], 1)


def build(
    classes: int, channels: int = 3, dropout: float = 0.5, architecture: str = RESNET34
) -> nn.Sequential:
    """Return an untrained network: the architecture's body, and fastai's head.

    Input is (n, channels, size, size) with 1 or 3 channels; output is (n, classes) logits. The
    weights have the names that fastai gives them. Raises PipelineError if the architecture is
    unknown.
    """
    chosen = architecture_of(architecture)
    body = chosen.build_body(channels)
    pooled = 2 * chosen.features
    hidden, last = nn.Linear(pooled, HIDDEN, bias=False), nn.Linear(HIDDEN, classes, bias=False)
    nn.init.kaiming_normal_(hidden.weight)
    # All classes start equally likely. fastai's initial weights are far worse: with 156 classes
    # and dropout, the first few hundred steps only unlearn them.
    nn.init.zeros_(last.weight)
    head = nn.Sequential(
        ConcatPool(),
        nn.Flatten(),
        nn.BatchNorm1d(pooled),
        nn.Dropout(dropout / 2),
        hidden,
        nn.ReLU(inplace=True),
        nn.BatchNorm1d(HIDDEN),
        nn.Dropout(dropout),
        last,
    )
    return nn.Sequential(body, head)


def body_and_head(network: nn.Sequential) -> tuple[nn.Sequential, nn.Sequential]:
    """Return the two halves of a network that `build` made."""
    body, head = network
    assert isinstance(body, nn.Sequential) and isinstance(head, nn.Sequential)
    return body, head


def load_body(
    network: nn.Sequential, state: Mapping[str, Tensor], name: str, architecture: Architecture
) -> None:
    """Load pretrained weights into the body: published ones, or those of a kalai model.

    A stem of one channel gets the sum over the three colours. Raises PipelineError naming the file
    (`name`) if the weights are for another architecture.
    """
    into, _ = body_and_head(network)
    body = {key[2:]: value for key, value in state.items() if key.startswith("0.")}
    body = body or architecture.body_weights(state)
    stem = body.get(architecture.stem)
    one_channel = into.state_dict()[architecture.stem].shape[1] == 1
    if stem is not None and stem.shape[1] == 3 and one_channel:
        body[architecture.stem] = stem.sum(1, keepdim=True)
    try:
        into.load_state_dict(body)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise PipelineError(f"{name}: weights are not for {architecture.name}: {first}") from error


@dataclass(frozen=True)
class Card:
    """Everything that is needed to use a model, and what it was made from."""

    classes: tuple[ClassName, ...]
    view: View
    mean: tuple[float, ...]  # of each channel, for values from 0 to 1
    std: tuple[float, ...]
    # views for test-time augmentation, each a 2 x 3 affine matrix; (): only the plain image
    tta: tuple[tuple[float, ...], ...] = ()
    temperature: float = 1.0  # divides the logits; fitted on the validation set
    # how pen files are drawn for this model; None: it reads no pen files
    drawing: PenSettings | None = None
    made: dict[str, Any] = field(default_factory=dict)  # data, versions, seed, metrics
    architecture: str = RESNET34


def save_model(folder: Path, network: nn.Module, card: Card) -> None:
    """Write model.safetensors and model.json into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.contiguous().cpu() for name, value in network.state_dict().items()}
    weights = folder / MODEL_WEIGHTS
    weights.touch()
    mode = weights.stat().st_mode
    save_file(state, weights)  # without a second copy in memory; readable by the owner alone
    weights.chmod(mode)
    values = asdict(card)
    values = {"format": FORMAT, "architecture": values.pop("architecture")} | values
    write_json(folder / MODEL_JSON, values)


def load_model(folder: Path) -> tuple[nn.Sequential, Card]:
    """Return a trained model, in evaluation mode on the CPU; nothing is unpickled.

    Raises PipelineError if a file is missing or damaged, or if its architecture is unknown.
    """
    path = folder / MODEL_JSON
    try:
        values = read_json(path)
        if values.pop("format") != FORMAT:
            raise PipelineError(f"{path}: written by another version of kalai; train again")
        architecture = architecture_of(values["architecture"])
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
        network = build(len(card.classes), card.view.channels, architecture=architecture.name)
        network.load_state_dict(load_file(folder / MODEL_WEIGHTS))
    except FileNotFoundError as error:
        raise PipelineError(
            f"{error.filename or folder}: file not found; run `dvc repro` to train, or `dvc "
            "checkout` to restore the last model after a failed run"
        ) from error
    except (json.JSONDecodeError, KeyError, TypeError, SafetensorError, RuntimeError) as error:
        raise PipelineError(
            f"{folder}: model is damaged or was not written by kalai: {error}; train again"
        ) from error
    return network.eval(), card


def normaliser(card: Card, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the (scale, shift) that normalise values from 0 to 255, each (1, channels, 1, 1)."""
    mean, std = (
        torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (card.mean, card.std)
    )
    return 1 / (255 * std), -mean / std


@torch.inference_mode()
def predict_logits(
    network: nn.Module, pixels: Pixels, card: Card, device: torch.device, batch_size: int = 256
) -> NDArray[np.float32]:
    """Return (count, classes) logits of (count, channels, size, size) uint8 images.

    With test-time augmentation, they are the mean over the card's views. Everything is
    computed in float32, so that results on two machines differ only by rounding.
    """
    network = network.to(device).eval()
    if device.type != "mps":  # channels-last gains nothing on mps; on a CPU it gains a fifth
        network = network.to(memory_format=torch.channels_last)
    scale, shift = normaliser(card, device)
    logits = np.empty((len(pixels), len(card.classes)), np.float32)
    for start in range(0, len(pixels), batch_size):
        batch = torch.from_numpy(np.array(pixels[start : start + batch_size])).to(device)
        with SmallConvs() if device.type == "cpu" else nullcontext():
            per_view = [
                network(images * scale + shift).float()
                for images in views(batch, card.tta, card.view)
            ]
        logits[start : start + batch_size] = torch.stack(per_view).mean(0).cpu().numpy()
    return logits


def padding_mode(view: View) -> str:
    """Return grid_sample's padding mode: zeros if images are padded, else their mirror image."""
    return "zeros" if view.fit == "pad" else "reflection"


def views(batch: Tensor, tta: tuple[tuple[float, ...], ...], view: View) -> Iterator[Tensor]:
    """Yield each view of a batch (n, channels, size, size); the batch itself if `tta` is empty."""
    if not tta:
        yield batch
    for matrix in tta:
        theta = torch.tensor(matrix, device=batch.device).view(1, 2, 3)
        grid = nn.functional.affine_grid(theta, [1, *view.shape], align_corners=False)
        count = batch.shape[0]  # not len(), with which an export would fix the batch size
        grid = grid.expand(count, -1, -1, -1)
        yield nn.functional.grid_sample(
            batch.float(),
            grid,
            mode="bilinear",
            padding_mode=padding_mode(view),
            align_corners=False,
        )
