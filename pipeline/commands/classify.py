"""Prepare one image for a model and rank its answer: what `predict` and `serve` share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.convert.letters import draw_pen
from pipeline.core.errors import Rejected
from pipeline.dataset.labels import ClassName
from pipeline.images.normalise import open_rgb
from pipeline.model.inputs import Pixels, prepare
from pipeline.model.network import Card


def model_input(data: bytes, card: Card) -> Pixels:
    """Return the (channels, side, side) pixels that the network gets for an encoded image.

    A UNIPEN file is drawn first, as the model's training images were. Raises Rejected: "pen-file"
    if the model was trained on photos, or the reason why the file cannot be decoded.
    """
    if b".PEN_DOWN" in data:
        if card.drawing is None:
            raise Rejected("pen-file", "UNIPEN strokes, but this model was trained on images")
        data = draw_pen(data, card.drawing)
    return prepare(open_rgb(data), card.view)[0]


def top_classes(
    probabilities: NDArray[np.float64], classes: Sequence[ClassName], count: int
) -> list[tuple[ClassName, float]]:
    """Return the `count` most probable classes with their probabilities, the highest first."""
    order = np.argsort(-probabilities, kind="stable")[:count]
    return [(classes[index], float(probabilities[index])) for index in order]
