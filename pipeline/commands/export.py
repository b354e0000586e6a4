"""`kalai export`: write a trained model as ONNX, after a check against torch on real images."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.core.errors import PipelineError, Stage, not_installed
from pipeline.core.files import replacing
from pipeline.dataset.paths import check_dataset, model_folder, split_path
from pipeline.dataset.split_table import TEST, TRAIN, VALID, read_parts
from pipeline.dataset.stored_images import read_images
from pipeline.model.inputs import Pixels, decode
from pipeline.model.metrics import softmax
from pipeline.model.network import Card, load_model, normaliser, predict_logits, views

CHECKED_ON = 32  # images, from the test set if there is one
TOLERANCE = 1e-4  # between two probabilities: kernels add up in different orders
NEEDED = ("onnx", "onnxscript", "onnxruntime")  # torch's exporter imports them late


class Whole(nn.Module):
    """A network with normalisation and calibration: from uint8 images to probabilities."""

    def __init__(self, network: nn.Module, card: Card) -> None:
        super().__init__()
        self.network, self.card = network, card
        self.scale, self.shift = normaliser(card, torch.device("cpu"))

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, classes) probabilities for (n, channels, size, size) uint8 images."""
        logits = [
            self.network(seen * self.scale + self.shift)
            for seen in views(images, self.card.tta, self.card.view)
        ]
        return torch.softmax(torch.stack(logits).mean(0) / self.card.temperature, 1)


@click.command(cls=Stage)
@click.argument("dataset")
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
def main(dataset: str, target: Path) -> None:
    """Write a trained model as ONNX, checked against torch.

    Input `pictures`: uint8 images (n, channels, size, size), prepared as the metadata key `view`
    describes. Output `probabilities`: the probability of each class in the metadata key `labels`.
    Normalisation and calibration are part of the file. Requires: pip install 'kalai[onnx]'

    \b
    Example:
      kalai export tamil letters.onnx
    """
    check_dataset(dataset)
    for name in NEEDED:
        if find_spec(name) is None:
            raise not_installed(name, "onnx")
    network, card = load_model(model_folder(dataset))
    pixels = examples(dataset, card)
    difference = write_checked(target, network, card, pixels)
    megabytes = target.stat().st_size / 1e6
    click.echo(
        f"{target}: {megabytes:.0f} MB, {len(card.classes)} classes; its probabilities differ from "
        f"torch's by at most {difference:.1g} on {len(pixels)} images"
    )


def write_checked(target: Path, network: nn.Module, card: Card, pixels: Pixels) -> float:
    """Write the network as ONNX; return its largest difference from torch on `pixels`.

    Raises PipelineError and writes nothing if the difference is over TOLERANCE.
    """
    ours = softmax(predict_logits(network, pixels, card, torch.device("cpu")), card.temperature)
    with replacing(target) as temporary:
        write_onnx(temporary, network, card)
        difference = float(np.abs(run_onnx(temporary, pixels) - ours).max())
        if not difference <= TOLERANCE:
            raise PipelineError(
                f"{target}: not written; its probabilities differ from torch's by "
                f"{difference:.2g}, allowed: {TOLERANCE:g}"
            )
    return difference


def examples(dataset: str, card: Card) -> Pixels:
    """Return a few images as model input, from the test set first, then from the other sets.

    Raises PipelineError if the dataset has none.
    """
    parts = read_parts(dataset)
    ids = [sample_id for name in (TEST, VALID, TRAIN) for sample_id in parts[name].sample_ids]
    if not ids:
        raise PipelineError(f"{split_path(dataset)}: no part has images to check the export with")
    images = read_images(dataset, ids[:CHECKED_ON])
    return np.stack([decode(data, card.view)[0] for data in images.values()])


def write_onnx(path: Path, network: nn.Module, card: Card) -> None:
    """Write the network with normalisation and softmax, and its card as metadata."""
    import onnx

    example = torch.zeros((2, *card.view.shape), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns about its own code
        torch.onnx.export(
            Whole(network, card).eval(),
            (example,),
            path,
            input_names=["pictures"],
            output_names=["probabilities"],
            dynamic_shapes={"images": {0: torch.export.Dim("count")}},
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    model = onnx.load(path)
    metadata = asdict(card) | {
        "labels": [known.label for known in card.classes],
        "names": [known.name for known in card.classes],
    }
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=json.dumps(value, ensure_ascii=False))
    onnx.save(model, path)


def run_onnx(path: Path, pixels: Pixels) -> NDArray[np.float32]:
    """Return the probabilities that onnxruntime computes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["probabilities"], {"pictures": pixels})[0])
