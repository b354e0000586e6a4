"""A trained model as ONNX, checked against torch on real pictures before it is given out."""

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

from pipeline.core.errors import PipelineError, Stage
from pipeline.core.files import replacing
from pipeline.dataset.paths import model_folder
from pipeline.dataset.split_table import read_parts
from pipeline.dataset.stored_images import read_images
from pipeline.model.inputs import Pixels, decode
from pipeline.model.metrics import softmax
from pipeline.model.network import Card, load_model, normaliser, predict_logits, windows

CHECKED_ON = 32  # pictures, of the test part where there is one
TOLERANCE = 1e-4  # of a probability: other kernels add up in another order
NEEDED = ("onnx", "onnxscript", "onnxruntime")  # torch's exporter asks for them late


class Whole(nn.Module):
    """A network with all that surrounds it: uint8 pictures to probabilities."""

    def __init__(self, network: nn.Module, card: Card) -> None:
        super().__init__()
        self.network, self.card = network, card
        self.scale, self.shift = normaliser(card, torch.device("cpu"))

    def forward(self, pictures: Tensor) -> Tensor:
        """Return (n, classes) probabilities of (n, channels, size, size) uint8 pictures."""
        looks = [
            self.network(seen * self.scale + self.shift)
            for seen in windows(pictures, self.card.tta, self.card.view)
        ]
        return torch.softmax(torch.stack(looks).mean(0) / self.card.temperature, 1)


@click.command(cls=Stage)
@click.argument("dataset")
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
def main(dataset: str, target: Path) -> None:
    """Write a trained model as ONNX, checked against torch.

    The file takes uint8 `pictures` (n, channels, size, size), prepared as its metadata `view`
    says, and gives the `probabilities` of its metadata `labels`: normalisation and calibration are
    in it. Needs the extra: pip install 'kalai[onnx]'

    Example: kalai export tamil letters.onnx
    """
    for name in NEEDED:
        if find_spec(name) is None:
            raise PipelineError(f"{name} is not installed; run: pip install 'kalai[onnx]'")
    network, card = load_model(model_folder(dataset))
    pixels = examples(dataset, card)
    ours = softmax(predict_logits(network, pixels, card, torch.device("cpu")), card.temperature)
    with replacing(target) as temporary:
        write_onnx(temporary, network, card)
        difference = float(np.abs(run_onnx(temporary, pixels) - ours).max())
        if not difference <= TOLERANCE:
            raise PipelineError(f"{target}: probabilities differ from torch's by {difference:.2g}")
    megabytes = target.stat().st_size / 1e6
    click.echo(
        f"{target}: {megabytes:.0f} MB, {len(card.classes)} classes; on {len(pixels)} pictures "
        f"its probabilities are torch's within {difference:.1g}"
    )


def examples(dataset: str, card: Card) -> Pixels:
    """Return a few pictures: of test, of valid where there is no test, of train at the last.

    Raises PipelineError where there are none at all.
    """
    parts = read_parts(dataset)
    ids = [sample_id for name in ("test", "valid", "train") for sample_id in parts[name].sample_ids]
    if not ids:
        raise PipelineError(f"{dataset}: no picture to check the export on")
    images = read_images(dataset, ids[:CHECKED_ON])
    return np.stack([decode(data, card.view)[0] for data in images.values()])


def write_onnx(path: Path, network: nn.Module, card: Card) -> None:
    """Write the network with normalisation, softmax and what is needed to use it."""
    import onnx

    example = torch.zeros((2, *card.view.shape), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own exporter, about itself
        torch.onnx.export(
            Whole(network, card).eval(),
            (example,),
            path,
            input_names=["pictures"],
            output_names=["probabilities"],
            dynamic_shapes={"pictures": {0: torch.export.Dim("count")}},
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    model = onnx.load(path)
    told = asdict(card) | {
        "labels": [known.label for known in card.classes],
        "names": [known.name for known in card.classes],
    }
    for key, value in told.items():
        model.metadata_props.add(key=key, value=json.dumps(value, ensure_ascii=False))
    onnx.save(model, path)


def run_onnx(path: Path, pixels: Pixels) -> NDArray[np.float32]:
    """Return the probabilities that onnxruntime gives."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["probabilities"], {"pictures": pixels})[0])
