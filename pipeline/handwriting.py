"""One batch of archived handwriting as samples: pen files are drawn, pictures are read.

What a member is, its content says, never its name: HP's archives name some files wrongly, and
other sets differ in what they use.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image, TiffImagePlugin

from pipeline import images, unipen
from pipeline.bitmap import Bitmap, encode_png
from pipeline.errors import Rejected
from pipeline.layout import Letter
from pipeline.render import MAX_SIDE, Canvas, Pen, place

DRAWN_AT_ONCE = 32_000_000  # pixels of canvas, a byte each
_TIFF = (b"II*\0", b"MM\0*")
_PICTURES = (*_TIFF, b"\x89PNG", b"BM", b"GIF8", b"\xff\xd8\xff", b"RIFF", b"II+\0", b"MM\0+")


@dataclass(frozen=True, slots=True)
class Drawing:
    """How pen files become pictures."""

    dpi: float = 250
    pen_width: int = 2  # pixels
    y_axis: str = "down"


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


class Converter:
    """Turns batches of letters into columns of samples; holds the pen and its tables."""

    def __init__(self, drawing: Drawing) -> None:
        self.drawing = drawing
        self._pen = Pen(drawing.pen_width)

    def convert(self, letters: Sequence[Letter]) -> Converted:
        """Convert letters in their order; one that cannot be is a row with a reason."""
        pictures: list[_Picture | Rejected] = []
        waiting: list[tuple[int, Canvas]] = []
        for number, letter in enumerate(letters):
            try:
                if letter.data.startswith(_PICTURES):
                    pictures.append(read_picture(letter.data))
                else:
                    waiting.append((number, self._place(letter.data)))
                    pictures.append(Rejected("no-ink"))  # until it is drawn
            except Rejected as verdict:
                pictures.append(verdict)
        for number, picture in self._draw(waiting):
            pictures[number] = picture
        result = Converted()
        for letter, picture in zip(letters, pictures, strict=True):
            _tell(result, letter, picture)
        return result

    def _place(self, data: bytes) -> Canvas:
        if not data:
            raise Rejected("empty", "no bytes")
        pen = unipen.parse(data)
        strokes = pen.strokes
        if not strokes:
            raise Rejected("no-ink", "no pen-down point")
        if pen.points_per_inch is None:
            raise Rejected("no-resolution", "no X_POINTS_PER_INCH or _MM")
        return place(strokes, pen.points_per_inch, self.drawing.dpi, self.drawing.y_axis)

    def _draw(
        self, waiting: Sequence[tuple[int, Canvas]]
    ) -> Iterator[tuple[int, _Picture | Rejected]]:
        for group in _bounded(waiting):
            numbers, canvases = zip(*group, strict=True)
            try:
                drawn: list[Bitmap | Rejected] = list(self._pen.draw(canvases))
            except Rejected:  # too much ink in one of them
                drawn = [self._draw_one(canvas) for canvas in canvases]
            for number, bitmap in zip(numbers, drawn, strict=True):
                yield number, bitmap if isinstance(bitmap, Rejected) else _stored(bitmap)

    def _draw_one(self, canvas: Canvas) -> Bitmap | Rejected:
        try:
            return self._pen.draw([canvas])[0]
        except Rejected as verdict:
            return verdict


def _bounded(waiting: Sequence[tuple[int, Canvas]]) -> Iterator[list[tuple[int, Canvas]]]:
    """Give runs of canvases whose common width times all heights stays within bounds."""
    run: list[tuple[int, Canvas]] = []
    width = height = 0
    for number, canvas in waiting:
        width, height = max(width, canvas.width), height + canvas.height
        if run and width * height > DRAWN_AT_ONCE:
            yield run
            run, width, height = [], canvas.width, canvas.height
        run.append((number, canvas))
    if run:
        yield run


def _stored(bitmap: Bitmap, original: tuple[int | None, int | None] = (None, None)) -> _Picture:
    size = (bitmap.width, bitmap.height)
    return _Picture(bitmap.content_id, encode_png(bitmap), size, original)


def read_picture(data: bytes) -> _Picture:
    """Read a picture file: bi-level stays so, all else becomes grey.

    Raises Rejected: "no-ink", and what `images.normalise` gives.
    """
    bitmap, notes, kind, original = _plain_tiff(data), "", "TIFF", None
    if bitmap is None:
        normal = images.normalise(data, MAX_SIDE, max_pixels=MAX_SIDE * MAX_SIDE)
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
    content = images.content_id(f"{width}x{height} grey\n".encode() + grey.tobytes())
    return _Picture(content, buffer.getvalue(), (width, height), original, kind, notes or None)


class _QuickTiff(TiffImagePlugin.TiffImageFile):
    """A TIFF without the search for EXIF and further pages, which takes as long as the decoding."""

    def load_end(self) -> None:
        """Do nothing more."""


def _plain_tiff(data: bytes) -> Bitmap | None:
    """Read a bi-level TIFF of one upright page; None for any other, and for a damaged one."""
    if not data.startswith(_TIFF):
        return None
    try:
        image = _QuickTiff(io.BytesIO(data))
        pages = bool(image.tag_v2.next)
        if image.mode != "1" or pages or image.tag_v2.get(0x0112, 1) != 1 or 0 in image.size:
            return None
        if max(image.size) > MAX_SIDE:
            return None
        image.load()
        pixels = pa.array(
            image
        ).to_numpy()  # without a copy; numpy's own way takes ten times longer
    except Exception:  # hostile headers make Pillow raise nearly anything; images.py says what
        return None
    return Bitmap.of(pixels.reshape(image.height, image.width))


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
