"""A trained model in memory, and what the page shows of its dataset."""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn

from pipeline.commands.classify import model_input, top_classes
from pipeline.dataset.columns import HEIGHT, WIDTH
from pipeline.dataset.labels import ClassName
from pipeline.dataset.paths import model_folder, report_path, samples_path, split_path
from pipeline.dataset.pen_settings import PenSettings
from pipeline.dataset.reports import read_report
from pipeline.dataset.samples import read_samples
from pipeline.dataset.split_table import TEST, TRAIN, VALID, read_parts
from pipeline.dataset.stored_images import read_images
from pipeline.images.bitmap import Bitmap
from pipeline.model.inputs import Pixels, decode
from pipeline.model.metrics import softmax
from pipeline.model.network import Card, load_model, predict_logits
from pipeline.pages.serve.strokes import Pen, Strokes

SAMPLES = 6  # images that the page shows for each class


class Prediction(NamedTuple):
    """The network's input, and the most probable classes, the highest probability first."""

    pixels: Pixels  # (channels, side, side)
    classes: list[tuple[ClassName, float]]


class Measured(NamedTuple):
    """The accuracy that `evaluate` measured."""

    name: str  # "test set" or "validation set"
    images: int
    accuracy: float


@dataclass(frozen=True)
class LoadedModel:
    """One dataset's model. `pen` is None if its images were not drawn from strokes."""

    dataset: str
    network: nn.Module
    card: Card
    device: torch.device
    pen: Pen | None = None
    samples: dict[str, list[str]] = field(default_factory=dict)  # content ids by label
    images: dict[str, bytes] = field(default_factory=dict)  # by content id
    measured: Measured | None = None
    # one request at a time: each may hold an image of 50 million pixels, or a drawing of 20 million
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def predict_image(self, data: bytes, top: int) -> Prediction:
        """Return the prediction for an encoded image, as `kalai predict` does. Raises Rejected."""
        with self._lock:
            return self._predict(model_input(data, self.card), top)

    def predict_strokes(
        self, strokes: Strokes, points_per_inch: float | None, top: int
    ) -> tuple[Bitmap, Prediction]:
        """Draw a letter; return the drawing and its prediction. Raises Rejected.

        The prediction is the same as if `evaluate` had read this drawing from samples.parquet.
        """
        assert self.pen is not None
        with self._lock:
            bitmap = self.pen.draw(strokes, points_per_inch)
            return bitmap, self._predict(decode(bitmap.png, self.card.view)[0], top)

    def _predict(self, pixels: Pixels, top: int) -> Prediction:
        logits = predict_logits(self.network, pixels[None], self.card, self.device)
        probabilities = softmax(logits, self.card.temperature)[0]
        return Prediction(pixels, top_classes(probabilities, self.card.classes, top))


def load(dataset: str, device: torch.device) -> LoadedModel:
    """Load a dataset's model, with samples and measured accuracy if their files exist."""
    network, card = load_model(model_folder(dataset))
    samples = chosen_samples(dataset)
    content_of = {sample_id: content for ids in samples.values() for sample_id, content in ids}
    images = read_images(dataset, list(content_of)) if content_of else {}
    return LoadedModel(
        dataset,
        network.to(device),
        card,
        device,
        pen_of(dataset, card.drawing),
        {label: [content for _, content in ids] for label, ids in samples.items()},
        {content_of[sample_id]: data for sample_id, data in images.items()},
        measured(dataset),
    )


def pen_of(dataset: str, drawing: PenSettings | None) -> Pen | None:
    """Return the pen that draws a dataset's letters; None if its images were not drawn."""
    if drawing is None:
        return None
    sizes = None
    if samples_path(dataset).exists():
        table = read_samples(dataset, [WIDTH, HEIGHT])
        sizes = np.stack([table[name].to_numpy() for name in (WIDTH, HEIGHT)], 1)
    return Pen.of_samples(drawing, sizes)


def chosen_samples(dataset: str, count: int = SAMPLES) -> dict[str, list[tuple[str, str]]]:
    """Return (sample id, content id) for a few training images of each label.

    They are those with the smallest content ids: as good as random, and always the same.
    """
    if not (samples_path(dataset).exists() and split_path(dataset).exists()):
        return {}  # only the model was pulled
    part = read_parts(dataset)[TRAIN]
    chosen: dict[str, list[tuple[str, str]]] = {}
    rows = zip(part.content_ids, part.sample_ids, part.labels, strict=True)
    for content, sample_id, label in sorted(rows):
        ids = chosen.setdefault(label, [])
        if len(ids) < count:
            ids.append((sample_id, content))
    return chosen


def measured(dataset: str) -> Measured | None:
    """Return the accuracy on the test set, else on the validation set; None if not evaluated."""
    report = read_report(report_path(dataset, "evaluate")) or {}
    for part, name in ((TEST, "test set"), (VALID, "validation set")):
        if report.get(part, {}).get("count"):
            return Measured(name, report[part]["count"], report[part]["accuracy"])
    return None


def png_of(pixels: Pixels) -> bytes:
    """Return (channels, height, width) pixels as a PNG."""
    buffer = io.BytesIO()
    image = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG")
    return buffer.getvalue()
