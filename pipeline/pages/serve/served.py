"""A trained model, ready to be asked, and what is shown of the dataset it learned from."""

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
from pipeline.core.files import read_json
from pipeline.dataset.labels import ClassName
from pipeline.dataset.paths import model_folder, report_path, samples_path, split_path
from pipeline.dataset.pen_settings import PenSettings
from pipeline.dataset.samples import read_samples
from pipeline.dataset.split_table import read_parts
from pipeline.dataset.stored_images import read_images
from pipeline.images.bitmap import Bitmap
from pipeline.model.inputs import Pixels, decode
from pipeline.model.metrics import softmax
from pipeline.model.network import Card, load_model, predict_logits
from pipeline.pages.serve.strokes import Pen, Strokes

SHOWN = 6  # sample pictures of a class


class Seen(NamedTuple):
    """What the network was given, and what it makes of it, the surest first."""

    pixels: Pixels  # (channels, side, side)
    guesses: list[tuple[ClassName, float]]


@dataclass(frozen=True)
class Served:
    """One dataset's model. `pen` is None where its samples were not drawn from strokes."""

    dataset: str
    network: nn.Module
    card: Card
    device: torch.device
    pen: Pen | None = None
    samples: dict[str, list[str]] = field(default_factory=dict)  # content ids by label
    pictures: dict[str, bytes] = field(default_factory=dict)  # by content id
    right: tuple[str, int, float] | None = None  # part, its samples, accuracy on it
    # one question at a time: each may take a picture of 50 million pixels, or 20 million of ink
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def see_picture(self, data: bytes, top: int) -> Seen:
        """Answer for an encoded picture, as `kalai predict` does. Raises Rejected."""
        with self._turn:
            return self._see(model_input(data, self.card), top)

    def see_strokes(
        self, strokes: Strokes, points_per_inch: float | None, top: int
    ) -> tuple[Bitmap, Seen]:
        """Draw a letter and answer as `evaluate` does for one that is stored. Raises Rejected."""
        assert self.pen is not None
        with self._turn:
            bitmap = self.pen.draw(strokes, points_per_inch)
            return bitmap, self._see(decode(bitmap.png, self.card.view)[0], top)

    def _see(self, pixels: Pixels, top: int) -> Seen:
        logits = predict_logits(self.network, pixels[None], self.card, self.device)
        probabilities = softmax(logits, self.card.temperature)[0]
        return Seen(pixels, top_classes(probabilities, self.card.classes, top))


def load(dataset: str, device: torch.device) -> Served:
    """Load a dataset's model, and of its samples and reports what is there."""
    network, card = load_model(model_folder(dataset))
    samples = chosen_samples(dataset)
    by_id = {sample_id: content for ids in samples.values() for sample_id, content in ids}
    pictures = read_images(dataset, list(by_id)) if by_id else {}
    return Served(
        dataset,
        network.to(device),
        card,
        device,
        pen_of(dataset, card.drawing),
        {label: [content for _, content in ids] for label, ids in samples.items()},
        {by_id[sample_id]: data for sample_id, data in pictures.items()},
        measured(dataset),
    )


def pen_of(dataset: str, drawing: PenSettings | None) -> Pen | None:
    """Return how a dataset's letters are drawn: those that `convert` makes are, others not."""
    if drawing is None:
        return None
    sizes = None
    if samples_path(dataset).exists():
        table = read_samples(dataset, ["width", "height"])
        sizes = np.stack([table[name].to_numpy() for name in ("width", "height")], 1)
    return Pen.of_samples(drawing, sizes)


def chosen_samples(dataset: str, most: int = SHOWN) -> dict[str, list[tuple[str, str]]]:
    """Return (sample id, content id) of a few samples that were learned from, by label.

    The least content ids: as good as by lot, and the same ones every time.
    """
    if not (samples_path(dataset).exists() and split_path(dataset).exists()):
        return {}  # the model alone was pulled
    part = read_parts(dataset)["train"]
    chosen: dict[str, list[tuple[str, str]]] = {}
    rows = zip(part.content_ids, part.sample_ids, part.labels, strict=True)
    for content, sample_id, label in sorted(rows):
        ids = chosen.setdefault(label, [])
        if len(ids) < most:
            ids.append((sample_id, content))
    return chosen


def measured(dataset: str) -> tuple[str, int, float] | None:
    """Return a part, its samples and the accuracy that `evaluate` measured on it."""
    path = report_path(dataset, "evaluate")
    report = read_json(path) if path.exists() else {}
    for part in ("test", "valid"):
        if report.get(part, {}).get("count"):
            return part, report[part]["count"], report[part]["accuracy"]
    return None


def png_of(pixels: Pixels) -> bytes:
    """Return (channels, height, width) as a PNG."""
    buffer = io.BytesIO()
    image = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG")
    return buffer.getvalue()
