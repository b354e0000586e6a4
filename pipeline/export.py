"""A trained model as ONNX, checked against torch on real pictures before it is given out."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.errors import PipelineError, Stage
from pipeline.files import replacing
from pipeline.measures import softmax
from pipeline.network import Card, load_model, normaliser, predict_logits
from pipeline.parts import read_parts
from pipeline.pictures import Pixels, decode, read_images
from pipeline.samples import dataset_folder

CHECKED_ON = 32  # pictures of the valid or test part
TOLERANCE = 1e-3  # of a probability: other kernels add up in another order


class Whole(nn.Module):
    """A network with all that surrounds it: uint8 pictures to probabilities."""

    def __init__(self, network: nn.Module, card: Card) -> None:
        super().__init__()
        self.network = network
        self.temperature = card.temperature
        scale, shift = normaliser(card, torch.device("cpu"))
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return (n, classes) probabilities of (n, channels, size, size) uint8 pictures."""
        logits = self.network(pictures.float() * self.scale + self.shift)
        return torch.softmax(logits / self.temperature, 1)


@click.command(cls=Stage)
@click.argument("dataset")
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
def main(dataset: str, target: Path) -> None:
    """Write a trained model as ONNX, checked against torch.

    The file takes uint8 pictures (n, channels, size, size) as `pictures`, prepared as its
    metadata `view` says, and gives `probabilities`; `labels` and `names` are its metadata, too.
    Needs: pip install 'kalai[onnx]'

    Example: kalai export tamil letters.onnx
    """
    network, card = load_model(dataset_folder(dataset) / "model")
    pixels = examples(dataset, card)
    with replacing(target) as temporary:
        write_onnx(temporary, network, card)
        plain = Card(card.classes, card.view, card.mean, card.std)  # one look, as in the file
        ours = softmax(
            predict_logits(network, pixels, plain, torch.device("cpu")), card.temperature
        )
        difference = float(np.abs(run_onnx(temporary, pixels) - ours).max())
        if difference > TOLERANCE:
            raise PipelineError(f"{target}: probabilities differ from torch's by {difference:.2g}")
    click.echo(f"{target}: as torch on {len(pixels)} pictures, within {difference:.1g}")


def examples(dataset: str, card: Card) -> Pixels:
    """Return a few pictures that the model was not trained on; of train where there are no others.

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
    try:
        import onnx
        import onnxscript  # noqa: F401  (torch's exporter asks for it late, with a traceback)
    except ImportError as error:
        raise PipelineError("onnx is not installed; run: pip install 'kalai[onnx]'") from error
    whole = Whole(network, card).eval()
    example = torch.zeros((2, *card.view.shape), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own exporter, about itself
        torch.onnx.export(
            whole,
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
    told = {
        "labels": [known.label for known in card.classes],
        "names": [known.name for known in card.classes],
        "view": card.view.__dict__,
    }
    for key, value in told.items():
        model.metadata_props.add(key=key, value=json.dumps(value, ensure_ascii=False))
    onnx.save(model, path)


def run_onnx(path: Path, pixels: Pixels) -> NDArray[np.float32]:
    """Return the probabilities that onnxruntime gives."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["probabilities"], {"pictures": pixels})[0])


if __name__ == "__main__":
    main()
