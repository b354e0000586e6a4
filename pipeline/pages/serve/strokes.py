"""Draw strokes from a pad or a pen file in the way that `convert` draws an archive's letters.

A pen file gives its tablet's resolution; an on-screen pad can be any size. The pen is always a few
pixels wide, for small letters and for large ones. So a letter from a pad is first scaled to the
median size of the archive's letters: otherwise its strokes would be too thick or too thin for the
model.
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

Strokes = Sequence[Sequence[Sequence[float]]]  # each stroke: (x, y) points from pen-down to pen-up

DEFAULT_SIZE_IN = 0.5  # inches, if there are no samples; the median of HP's letters is 0.54


@dataclass(frozen=True)
class Pen:
    """How an archive's letters are drawn, and their median size. Here y always grows downwards."""

    drawing: PenSettings
    size_in: float = DEFAULT_SIZE_IN  # the longer side of a letter, inches

    def draw(self, strokes: Strokes, points_per_inch: float | None) -> Bitmap:
        """Draw a letter; without points per inch, in the median size of the archive's letters.

        Raises Rejected: "no-ink", "too-many-pixels".
        """
        arrays = [np.array(stroke, np.float64).reshape(-1, 2) for stroke in strokes if len(stroke)]
        resolution = points_per_inch or resolution_for(arrays, self.size_in)
        renderer = renderer_of(replace(self.drawing, y_axis="down"))
        (drawn,) = renderer.draw([Outline(arrays, (resolution, resolution))])
        if isinstance(drawn, Rejected):
            raise drawn
        return drawn

    @classmethod
    def of_samples(cls, drawing: PenSettings, sizes: npt.NDArray[np.int64] | None = None) -> Pen:
        """Return the pen of an archive whose samples have these (n, 2) widths and heights."""
        if sizes is None or not len(sizes):
            return cls(drawing)
        extents = sizes.max(1) - 2 * margin_of(drawing.pen_width)
        return cls(drawing, max(1.0, float(np.median(extents))) / drawing.dpi)


def resolution_for(strokes: Sequence[npt.NDArray[np.float64]], size_in: float) -> float:
    """Return the points per inch at which the longer side of a letter measures `size_in` inches.

    A single dot has no size: any resolution will do.
    """
    if not strokes:
        return 1.0
    points = np.concatenate(strokes)
    return float((points.max(0) - points.min(0)).max()) / size_in or 1.0
