"""Strokes from a pad or a pen file as an archive's letter is drawn. Pure.

A pen file says how many points its tablet has an inch; a pad on a screen has any size. The pen is
a few pixels wide whatever the letter measures, so a letter from a pad is first given the size that
letters of the archive have: else its strokes would be thicker or thinner than those learned from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pipeline.convert.letters import renderer_of
from pipeline.convert.render import Outline, margin_of
from pipeline.core.errors import Rejected
from pipeline.dataset.pen_settings import PenSettings
from pipeline.images.bitmap import Bitmap

Strokes = Sequence[Sequence[Sequence[float]]]  # from pen-down to pen-up, points of x and y

USUAL_IN = 0.5  # inches; HP's letters measure 0.54 in the median, and no samples say otherwise


@dataclass(frozen=True)
class Pen:
    """How an archive's letters were drawn, and how large they usually are.

    Whichever way the archive's y goes, a pad's goes down.
    """

    drawing: PenSettings
    usual_in: float = USUAL_IN  # the longer side of a letter, inches

    def draw(self, strokes: Strokes, points_per_inch: float | None) -> Bitmap:
        """Draw strokes of (x, y) points, y down; None for points an inch: of the usual size.

        Raises Rejected: "no-ink", "too-many-pixels".
        """
        arrays = [np.array(stroke, np.float64).reshape(-1, 2) for stroke in strokes if len(stroke)]
        resolution = points_per_inch or resolution_of(arrays, self.usual_in)
        renderer = renderer_of(replace(self.drawing, y_axis="down"))
        (drawn,) = renderer.draw([Outline(arrays, (resolution, resolution))])
        if isinstance(drawn, Rejected):
            raise drawn
        return drawn

    @classmethod
    def of_samples(cls, drawing: PenSettings, sizes: npt.NDArray[np.int64] | None = None) -> Pen:
        """Return the pen of an archive whose samples have these (n, 2) sizes in pixels."""
        if sizes is None or not len(sizes):
            return cls(drawing)
        extents = sizes.max(1) - 2 * margin_of(drawing.pen_width)
        return cls(drawing, max(1.0, float(np.median(extents))) / drawing.dpi)


def resolution_of(strokes: Sequence[npt.NDArray[np.float64]], usual_in: float) -> float:
    """Return how many points an inch make the longer side of what is written `usual_in` inches.

    A lone dot has no side: it is a dot at any resolution.
    """
    if not strokes:
        return 1.0
    points = np.concatenate(strokes)
    return float((points.max(0) - points.min(0)).max()) / usual_in or 1.0
