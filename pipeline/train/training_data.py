"""Training data: a dataset, read and decoded, and the network to train on it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import pipeline
from pipeline.core.params import Augment, Train
from pipeline.dataset.labels import NAME_COLUMNS, class_names
from pipeline.dataset.pen_settings import read_pen_settings
from pipeline.dataset.samples import read_samples
from pipeline.dataset.split_table import Part, classes_to_learn, label_indices, read_parts
from pipeline.model.architectures import RESNET34, architecture_of
from pipeline.model.device import Compute
from pipeline.model.inputs import DecodedImages, Pixels, View, decoded_images
from pipeline.model.network import Card, build, load_body
from pipeline.train.augment import fixed_views
from pipeline.train.loaders import Batches
from pipeline.train.pretrained import read_weights

KEPT_WHOLE = 1.5  # times `size`: side at which images for random crops are stored, to keep detail


@dataclass(frozen=True)
class Task:
    """A dataset to train on, its parameters and the untrained network."""

    dataset: str
    params: Train
    parts: dict[str, Part]
    labels: list[str]
    images: dict[str, DecodedImages]  # of train and valid
    targets: dict[str, NDArray[np.int64]]
    network: nn.Sequential
    card: Card
    weights_sha256: str | None  # of the file of pretrained weights; None: from scratch

    @property
    def is_pretrained(self) -> bool:
        """Whether the body has pretrained weights."""
        return self.weights_sha256 is not None


def read_task(
    dataset: str, params: Train, parts: dict[str, Part] | None = None, cache: str = ""
) -> Task:
    """Return the training data of a dataset, with its images decoded.

    Without `parts`, those of split.csv are used. With them, `cache` must be given: the names of the
    cache files begin with it. Raises PipelineError if a table or the weights are missing or
    damaged, or if the training set is unfit for training.
    """
    parts = read_parts(dataset) if parts is None else parts
    labels = classes_to_learn(dataset, parts)
    architecture = architecture_of(RESNET34)
    weights = read_weights(params.weights, architecture)
    view = view_of(params)
    whole = round(KEPT_WHOLE * params.size)
    images = {
        "train": decoded_images(dataset, f"{cache}train", parts["train"].sample_ids, view, whole),
        "valid": decoded_images(dataset, f"{cache}valid", parts["valid"].sample_ids, view),
    }
    mean, std = architecture.mean, architecture.std
    if weights is None:
        mean, std = statistics(images["train"].pixels)
    if params.channels < len(mean):  # a stem that sums the colours needs one scale for all
        mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
    torch.manual_seed(params.seed)
    network = build(len(labels), params.channels, params.dropout, architecture.name)
    if weights is not None:
        load_body(network, weights.state, params.weights, architecture)
    return Task(
        dataset,
        params,
        parts,
        labels,
        images,
        {name: label_indices(parts[name].labels, labels) for name in images},
        network,
        Card(
            class_names(read_samples(dataset, NAME_COLUMNS)).of(labels),
            view,
            mean,
            std,
            tta=fixed_views(params.augment) if params.tta else (),
            drawing=read_pen_settings(dataset),
            architecture=architecture.name,
        ),
        None if weights is None else weights.sha256,
    )


def batches(task: Task, part: str, compute: Compute, augmenting: Augment | None = None) -> Batches:
    """Return the loader of a part.

    Validation needs no gradients, so its batches are twice as large.
    """
    size = task.params.batch_size if augmenting else 2 * task.params.batch_size
    stored, targets = task.images[part], task.targets[part]
    return Batches(
        stored,
        targets,
        task.card,
        compute.device,
        batch_size=size,
        augmenting=augmenting,
        rank=compute.rank,
        ranks=compute.ranks,
    )


def view_of(params: Train) -> View:
    """Return how images are prepared for the network of these params."""
    return View(params.size, params.channels, params.fit, params.margin, params.trim, params.invert)


def statistics(pixels: Pixels) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel, for values from 0 to 1.

    `pixels` are (n, channels, side, side) uint8.
    """
    levels = np.zeros((pixels.shape[1], 256), np.int64)
    for image in pixels:
        for channel, values in enumerate(image):
            levels[channel] += np.bincount(values.ravel(), minlength=256)
    shares = levels / levels.sum(1, keepdims=True)
    values = np.arange(256) / 255
    mean = shares @ values
    std = np.sqrt(np.maximum(shares @ values**2 - mean**2, 1e-6))
    return tuple(mean.tolist()), tuple(std.tolist())


def purpose(params: Train, parts: dict[str, Part]) -> str:
    """Return a hash of everything that the result depends on: params, samples and versions."""
    used = [
        (part.sample_ids, part.content_ids, part.labels)
        for part in (parts["train"], parts["valid"])
    ]
    versions = [pipeline.__version__, torch.__version__]
    text = json.dumps([params.model_dump(), used, versions])
    return hashlib.sha256(text.encode()).hexdigest()
