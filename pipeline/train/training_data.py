"""What is learned and what from: a dataset read, decoded and ready to be trained on."""

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
from pipeline.model.device import Compute
from pipeline.model.inputs import Pictures, Pixels, View, read_pictures
from pipeline.model.network import IMAGENET, Card, build, load_body
from pipeline.train.augment import fixed_views
from pipeline.train.loaders import Batches
from pipeline.train.pretrained import read_weights

KEPT_WHOLE = 1.5  # sides of the input; pictures that are cropped are kept at this, for detail


@dataclass(frozen=True)
class Task:
    """What is learned, and what from."""

    dataset: str
    params: Train
    parts: dict[str, Part]
    labels: list[str]
    pictures: dict[str, Pictures]  # of train and valid
    targets: dict[str, NDArray[np.int64]]
    network: nn.Sequential
    card: Card
    began_with: str | None  # sha256 of a file of weights; None: from scratch

    @property
    def is_pretrained(self) -> bool:
        """Whether the body knows something before the first step."""
        return self.began_with is not None


def read_task(
    dataset: str, params: Train, parts: dict[str, Part] | None = None, cache: str = ""
) -> Task:
    """Read samples, parts and first weights, and see that they can be learned from.

    Other parts than those of split.csv have decoded pictures of their own, in `cache`.
    """
    parts = read_parts(dataset) if parts is None else parts
    labels = classes_to_learn(dataset, parts)
    weights = read_weights(params.weights)
    view = view_of(params)
    whole = round(KEPT_WHOLE * params.size)
    pictures = {
        "train": read_pictures(dataset, f"{cache}train", parts["train"].sample_ids, view, whole),
        "valid": read_pictures(dataset, f"{cache}valid", parts["valid"].sample_ids, view),
    }
    mean, std = statistics(pictures["train"].pixels) if weights is None else IMAGENET
    if params.channels < len(mean):  # colours summed up by the stem share one scale
        mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
    torch.manual_seed(params.seed)
    network = build(len(labels), params.channels, params.dropout)
    if weights is not None:
        load_body(network, weights.state, params.weights)
    return Task(
        dataset,
        params,
        parts,
        labels,
        pictures,
        {name: label_indices(parts[name].labels, labels) for name in pictures},
        network,
        Card(
            class_names(read_samples(dataset, NAME_COLUMNS)).of(labels),
            view,
            mean,
            std,
            tta=fixed_views(params.augment) if params.tta else (),
            drawing=read_pen_settings(dataset),
        ),
        None if weights is None else weights.sha256,
    )


def batches(task: Task, part: str, compute: Compute, augmenting: Augment | None = None) -> Batches:
    """Return a part's loader; what is only looked at has no gradients and fits twice as many."""
    size = task.params.batch_size if augmenting else 2 * task.params.batch_size
    stored, targets = task.pictures[part], task.targets[part]
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
    """Return how the network of these params sees a picture."""
    return View(params.size, params.channels, params.fit, params.margin, params.trim, params.invert)


def statistics(pixels: Pixels) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of each channel, of values from 0 to 1."""
    levels = np.zeros((pixels.shape[1], 256), np.int64)
    for picture in pixels:
        for channel, values in enumerate(picture):
            levels[channel] += np.bincount(values.ravel(), minlength=256)
    shares = levels / levels.sum(1, keepdims=True)
    values = np.arange(256) / 255
    mean = shares @ values
    std = np.sqrt(np.maximum(shares @ values**2 - mean**2, 1e-6))
    return tuple(mean.tolist()), tuple(std.tolist())


def purpose(params: Train, parts: dict[str, Part]) -> str:
    """Return a hash of all that the outcome depends on."""
    used = [
        (part.sample_ids, part.content_ids, part.labels)
        for part in (parts["train"], parts["valid"])
    ]
    versions = [pipeline.__version__, torch.__version__]
    text = json.dumps([params.model_dump(), used, versions])
    return hashlib.sha256(text.encode()).hexdigest()
