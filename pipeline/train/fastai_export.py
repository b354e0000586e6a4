"""fastai's `export.pkl`: a learner that loads without kalai.

The preprocessing code (this module and `pipeline.model.inputs`) is pickled by value. A pickle runs
code when it is loaded: kalai writes one and never loads one.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import cloudpickle
import torch
from fastai.data.core import Datasets
from fastai.data.transforms import Categorize, IntToFloatTensor, Normalize
from fastai.layers import AdaptiveConcatPool2d
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from fastai.torch_core import TensorImage
from PIL import Image
from torch import nn

from pipeline.model import inputs
from pipeline.model.inputs import View, prepare
from pipeline.model.network import Card, body_and_head, build


def as_path(item: str) -> Path:
    """Return a path from text."""
    return Path(item)


def open_image(path: Path) -> Image.Image:
    """Return the decoded image of a file."""
    with Image.open(path) as image:
        image.load()
        return image.copy()


def as_tensor(image: Image.Image, view: View) -> TensorImage:
    """Return an image as the network gets it: fastai's TensorImage of uint8."""
    return TensorImage(torch.from_numpy(prepare(image, view)[0]))


def first_label(item: str, labels: list[str]) -> str:
    """Return any label, for the one example image that fastai needs to build a learner."""
    return labels[0]


def export(path: Path, network: nn.Sequential, card: Card) -> None:
    """Write export.pkl, for `load_learner(path).predict(image)`."""
    plain = build(len(card.classes), card.view.channels, architecture=card.architecture)
    plain.eval()
    plain.load_state_dict(network.state_dict())
    _, head = body_and_head(plain)
    head[0] = AdaptiveConcatPool2d()  # fastai's version of the same module
    labels = [known.label for known in card.classes]
    example = path.with_name("example.png")  # fastai infers the types from it
    Image.new("RGB", (card.view.size, card.view.size)).save(example)
    sets = Datasets(
        [str(example)],
        tfms=[
            [as_path, open_image, partial(as_tensor, view=card.view)],
            [partial(first_label, labels=labels), Categorize(vocab=labels, sort=False)],
        ],
        n_inp=1,
        splits=[[0], [0]],
    )
    learner = Learner(
        sets.dataloaders(
            bs=64,
            num_workers=0,
            device=torch.device("cpu"),
            after_batch=[IntToFloatTensor(), Normalize.from_stats(card.mean, card.std, cuda=False)],
        ),
        plain,
        CrossEntropyLossFlat(),
        metrics=accuracy,
        path=path.parent,
    )
    example.unlink()
    ours = (inputs, sys.modules[__name__])
    for module in ours:
        cloudpickle.register_pickle_by_value(module)
    try:
        learner.export(path.name)
    finally:
        for module in ours:
            cloudpickle.unregister_pickle_by_value(module)
