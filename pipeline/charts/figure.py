"""The figure that all plots share: its colours, its style and its PNG file."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image

from pipeline.charts.fonts import families
from pipeline.core.files import replacing

DPI = 110
WIDE = (10, 5.6)  # inches: the shape of a slide
SMALL, PLAIN, LARGE = 7, 10, 13  # points, of text

# the palette of Okabe and Ito, which colour-blind people can distinguish
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#8A8A8A"
PART_COLOURS = {"train": BLUE, "valid": ORANGE, "test": GREEN, "out": GREY}
STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#555555",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": PLAIN + 1,
    "font.size": PLAIN,
    "grid.color": "#DDDDDD",
    "legend.frameon": False,
    "text.parse_math": False,  # a class may have the name "$1"
}


@contextmanager
def drawing(
    path: Path, size: tuple[float, float] = WIDE, names: Iterable[str] = ()
) -> Iterator[Figure]:
    """Yield a figure of `size` inches; it is written to `path` when the block ends.

    Its fonts cover `names`. The file is a PNG of at most 256 colours, written atomically, with the
    same bytes on every run.
    """
    with rc_context({**STYLE, "font.family": families(names)}):
        figure = Figure(figsize=size)
        yield figure
        drawn = io.BytesIO()
        figure.savefig(drawn, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.15)
    with replacing(path) as temporary, Image.open(drawn) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
            temporary, "PNG", optimize=True
        )
