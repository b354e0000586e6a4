"""One batch of archived handwriting as samples: pen files are drawn, pictures are read.

What a member is, its content says, never its name.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from pipeline.convert import unipen
from pipeline.convert.hp_archive import Letter
from pipeline.convert.render import MAX_SIDE, Outline, Renderer
from pipeline.convert.tiff import read_tiff
from pipeline.core.errors import Rejected
from pipeline.dataset.pen_settings import Drawing
from pipeline.images import normalise
from pipeline.images.bitmap import Bitmap

_PICTURES = (  # how they begin: TIFF and BigTIFF, PNG, BMP, GIF, JPEG, WebP
    *(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    *(b"\x89PNG", b"BM", b"GIF8", b"\xff\xd8\xff", b"RIFF"),
)


COLUMNS = (  # in the order in which `_tell` gives their values
    "sample_id",
    "content_id",
    "image",
    "label",
    "group",
    "trial",
    "width",
    "height",
    "original_width",
    "original_height",
    "original_bytes",
    "original_format",
    "notes",
)


@dataclass(slots=True)
class Converted:
    """What a batch gave: equally long columns of samples, and rows for rejected.csv."""

    columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in COLUMNS})
    rejected: list[tuple[str, str, str, str, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Picture:
    """A picture as it will be stored."""

    content_id: str
    png: bytes
    size: tuple[int, int]
    original_size: tuple[int | None, int | None] = (None, None)
    format: str = "UNIPEN"
    notes: str | None = None


@lru_cache(maxsize=4)
def renderer_of(drawing: Drawing) -> Renderer:
    """Return what draws so: its pen takes 30 ms to table."""
    return Renderer(drawing.dpi, drawing.pen_width, drawing.y_axis)


def draw_pen(data: bytes, drawing: Drawing) -> bytes:
    """Return a pen file as a PNG. Raises Rejected as `read_pen`, and "too-many-pixels"."""
    (drawn,) = renderer_of(drawing).draw([read_pen(data)])
    if isinstance(drawn, Rejected):
        raise drawn
    return drawn.png


def convert_letters(drawing: Drawing, letters: Sequence[Letter]) -> Converted:
    """Convert letters in their order; one that cannot be is a row with a reason."""
    pictures: dict[int, _Picture | Rejected] = {}
    outlines: dict[int, Outline] = {}
    for number, letter in enumerate(letters):
        try:
            if letter.data.startswith(_PICTURES):
                pictures[number] = read_picture(letter.data)
            else:
                outlines[number] = read_pen(letter.data)
        except Rejected as verdict:
            pictures[number] = verdict
    drawn = renderer_of(drawing).draw(list(outlines.values()))
    for number, bitmap in zip(outlines, drawn, strict=True):
        pictures[number] = bitmap if isinstance(bitmap, Rejected) else _stored(bitmap)
    result = Converted()
    for number, letter in enumerate(letters):
        _tell(result, letter, pictures[number])
    return result


def read_pen(data: bytes) -> Outline:
    """Read a pen file. Raises Rejected: "empty", "no-ink", "no-resolution", and as `parse`."""
    if not data:
        raise Rejected("empty", "no bytes")
    pen = unipen.parse(data)
    strokes = pen.strokes
    if not strokes:
        raise Rejected("no-ink", "no pen-down point")
    if pen.points_per_inch is None:
        raise Rejected("no-resolution", "no X_POINTS_PER_INCH or _MM")
    return Outline(strokes, pen.points_per_inch)


def _stored(bitmap: Bitmap, original: tuple[int | None, int | None] = (None, None)) -> _Picture:
    return _Picture(bitmap.content_id, bitmap.png, (bitmap.width, bitmap.height), original)


def read_picture(data: bytes) -> _Picture:
    """Read a picture file: bi-level stays so, all else becomes grey.

    Raises Rejected: "no-ink", and what `images.normalise` gives.
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
    picture = _stored(bitmap, original or (bitmap.width, bitmap.height))
    picture.format, picture.notes = kind, notes or None
    return picture


def _grey(grey: Any, original: tuple[int, int], kind: str, notes: str) -> _Picture:
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG")
    height, width = grey.shape
    content = normalise.content_id(f"{width}x{height} grey\n".encode() + grey.tobytes())
    return _Picture(content, buffer.getvalue(), (width, height), original, kind, notes or None)


def _tell(result: Converted, letter: Letter, picture: _Picture | Rejected) -> None:
    """Add a sample or a rejection."""
    if isinstance(picture, Rejected):
        result.rejected.append(
            (letter.sample_id, letter.class_id, picture.reason, picture.detail, letter.source)
        )
        return
    values = (
        letter.sample_id,
        picture.content_id,
        {"bytes": picture.png, "path": f"{letter.sample_id}.png"},
        letter.class_id,
        letter.group,
        letter.trial,
        *picture.size,
        *picture.original_size,
        len(letter.data),
        picture.format,
        picture.notes,
    )
    for column, value in zip(result.columns.values(), values, strict=True):
        column.append(value)
