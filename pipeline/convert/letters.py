"""Convert a batch of archived letters to samples: draw pen files, read image files.

A member's content, not its name, decides whether it is a pen file or an image.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.convert import unipen
from pipeline.convert.archive import Letter
from pipeline.convert.render import MAX_SIDE, Outline, Renderer
from pipeline.convert.tiff import read_tiff
from pipeline.core.errors import Rejected
from pipeline.dataset import columns
from pipeline.dataset.pen_settings import PenSettings
from pipeline.dataset.rejected import RejectedRow
from pipeline.images import normalise
from pipeline.images.bitmap import Bitmap

_IMAGE_STARTS = (  # the first bytes of TIFF and BigTIFF, PNG, BMP, GIF, JPEG, WebP
    *(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    *(b"\x89PNG", b"BM", b"GIF8", b"\xff\xd8\xff", b"RIFF"),
)

COLUMNS = (  # in the order of the values in `_add`
    columns.SAMPLE_ID,
    columns.CONTENT_ID,
    columns.IMAGE,
    columns.LABEL,
    columns.GROUP,
    columns.TRIAL,
    columns.WIDTH,
    columns.HEIGHT,
    columns.ORIGINAL_WIDTH,
    columns.ORIGINAL_HEIGHT,
    columns.ORIGINAL_BYTES,
    columns.ORIGINAL_FORMAT,
    columns.NOTES,
)


@dataclass(slots=True)
class Converted:
    """The result of a batch: columns of samples, equally long, and rows of rejected.csv."""

    columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in COLUMNS})
    rejected: list[RejectedRow] = field(default_factory=list)


@dataclass(slots=True)
class LetterImage:
    """An image as samples.parquet stores it. Sizes are (width, height) in pixels."""

    content_id: str
    png: bytes
    size: tuple[int, int]
    original_size: tuple[int | None, int | None] = (None, None)  # None: drawn from a pen file
    format: str = "UNIPEN"
    notes: str | None = None


@lru_cache(maxsize=4)
def renderer_of(drawing: PenSettings) -> Renderer:
    """Return the renderer for these settings; a new one takes 30 ms."""
    return Renderer(drawing.dpi, drawing.pen_width, drawing.y_axis)


def draw_pen(data: bytes, drawing: PenSettings) -> bytes:
    """Return a pen file as a PNG.

    Raises Rejected as `read_pen` does, and "too-many-pixels".
    """
    (drawn,) = renderer_of(drawing).draw([read_pen(data)])
    if isinstance(drawn, Rejected):
        raise drawn
    return drawn.png


def convert_letters(drawing: PenSettings, letters: Sequence[Letter]) -> Converted:
    """Convert letters in their order; one that cannot be converted becomes a rejected row."""
    images: dict[int, LetterImage | Rejected] = {}
    outlines: dict[int, Outline] = {}
    for number, letter in enumerate(letters):
        try:
            if letter.data.startswith(_IMAGE_STARTS):
                images[number] = read_image(letter.data)
            else:
                outlines[number] = read_pen(letter.data)
        except Rejected as rejection:
            images[number] = rejection
    drawn = renderer_of(drawing).draw(list(outlines.values()))
    for number, bitmap in zip(outlines, drawn, strict=True):
        images[number] = bitmap if isinstance(bitmap, Rejected) else _stored(bitmap)
    result = Converted()
    for number, letter in enumerate(letters):
        _add(result, letter, images[number])
    return result


def read_pen(data: bytes) -> Outline:
    """Return the strokes of a pen file.

    Raises Rejected: "empty", "no-ink", "no-resolution", and as `unipen.parse` does.
    """
    if not data:
        raise Rejected("empty", "no bytes")
    pen = unipen.parse(data)
    strokes = pen.strokes
    if not strokes:
        raise Rejected("no-ink", "no pen-down point")
    if pen.points_per_inch is None:
        raise Rejected("no-resolution", "no X_POINTS_PER_INCH or _MM")
    return Outline(strokes, pen.points_per_inch)


def read_image(data: bytes) -> LetterImage:
    """Return an image file as a bi-level PNG, or as greyscale if it is not only black and white.

    Raises Rejected: "no-ink", and as `images.normalise` does.
    """
    bitmap, notes, kind, original = read_tiff(data, MAX_SIDE), "", "TIFF", None
    if bitmap is None:
        normal = normalise.normalise(data, MAX_SIDE, max_pixels=MAX_SIDE * MAX_SIDE)
        notes, kind = "; ".join(normal.notes), normal.info.format
        original = (normal.info.width, normal.info.height)
        grey = np.asarray(Image.open(io.BytesIO(normal.data)).convert("L"))
        if not np.isin(grey, (0, 255)).all():
            return _grey(grey, original, kind, notes)
        bitmap = Bitmap.of(grey == 255)
    if not bitmap.has_ink:
        raise Rejected("no-ink", "all white")
    image = _stored(bitmap, original or (bitmap.width, bitmap.height))
    image.format, image.notes = kind, notes or None
    return image


def _stored(bitmap: Bitmap, original: tuple[int | None, int | None] = (None, None)) -> LetterImage:
    return LetterImage(bitmap.content_id, bitmap.png, (bitmap.width, bitmap.height), original)


def _grey(
    grey: npt.NDArray[np.uint8], original: tuple[int, int], kind: str, notes: str
) -> LetterImage:
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG")
    height, width = grey.shape
    content = normalise.content_id(f"{width}x{height} grey\n".encode() + grey.tobytes())
    return LetterImage(content, buffer.getvalue(), (width, height), original, kind, notes or None)


def _add(result: Converted, letter: Letter, image: LetterImage | Rejected) -> None:
    """Add a sample, or a rejected row."""
    if isinstance(image, Rejected):
        result.rejected.append(
            RejectedRow(
                letter.sample_id, letter.class_id, image.reason, image.detail, letter.source
            )
        )
        return
    values = (
        letter.sample_id,
        image.content_id,
        {"bytes": image.png, "path": f"{letter.sample_id}.png"},
        letter.class_id,
        letter.group,
        letter.trial,
        *image.size,
        *image.original_size,
        len(letter.data),
        image.format,
        image.notes,
    )
    for column, value in zip(result.columns.values(), values, strict=True):
        column.append(value)
