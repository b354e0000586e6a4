"""A contact sheet: a few pictures of every class, on one PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageFont, ImageOps

from pipeline.errors import Rejected
from pipeline.files import replacing
from pipeline.images import open_rgb

CELL, GAP, CAPTION = 96, 6, 18  # pixels: a picture's side, between pictures, a line of text
WIDTH = 8  # pictures in a line
# What DejaVu surely has: Latin, Greek, Cyrillic, and the Latin that ISO 15919 needs.
DRAWN = (range(0x20, 0x500), range(0x1E00, 0x2000))


def caption(*names: str | None) -> str:
    """Return the first name that the font can draw, "" where there is none: it has no Tamil."""
    return next((name for name in names if name and all(map(_is_drawn, name))), "")


def _is_drawn(letter: str) -> bool:
    return any(ord(letter) in letters for letters in DRAWN)


def read_pictures(path: Path, sample_ids: Sequence[str]) -> dict[str, bytes]:
    """Return the pictures of samples by id; only row groups that hold one of them are read."""
    wanted = pa.array(sample_ids, pa.string())
    found: dict[str, bytes] = {}
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            ids = file.read_row_group(number, columns=["sample_id"])["sample_id"]
            at = pc.indices_nonzero(pc.is_in(ids, wanted))
            if len(at):
                images = file.read_row_group(number, columns=["image"])["image"].take(at)
                named = zip(ids.take(at).to_pylist(), images.to_pylist(), strict=True)
                found |= {sample_id: image["bytes"] for sample_id, image in named}
    return found


def draw_sheet(path: Path, classes: Mapping[str, Sequence[bytes]]) -> None:
    """Draw the pictures of every class under its caption and write the sheet as PNG.

    Classes of fewer pictures share a line. At most 256 colours: a sheet is looked at, not used.
    """
    widest = max((len(pictures) for pictures in classes.values()), default=1)
    beside = max(1, WIDTH // max(widest, 1))  # classes in a line
    step_x, step_y = widest * (CELL + GAP) + GAP, CAPTION + CELL + GAP
    lines = -(-len(classes) // beside)
    sheet = Image.new("RGB", (beside * step_x + GAP, lines * step_y + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    font_file = resources.files("matplotlib").joinpath("mpl-data/fonts/ttf/DejaVuSans.ttf")
    font = ImageFont.truetype(io.BytesIO(font_file.read_bytes()), 12)
    for number, (text, pictures) in enumerate(classes.items()):
        x, y = GAP + number % beside * step_x, GAP + number // beside * step_y
        while pen.textlength(text, font=font) > step_x - GAP:
            text = text[:-2] + "…"  # noqa: PLW2901
        pen.text((x, y), text, fill="black", font=font)
        for place, data in enumerate(pictures):
            sheet.paste(_cell(data), (x + place * (CELL + GAP), y + CAPTION))
    with replacing(path) as temporary:
        sheet.quantize(256).save(temporary, "PNG", optimize=True)


def _cell(data: bytes) -> Image.Image:
    """Return a picture whole, in a square; an empty one where it cannot be opened."""
    try:
        return ImageOps.pad(open_rgb(data), (CELL, CELL), color="white")
    except Rejected:
        return Image.new("RGB", (CELL, CELL), "lightgrey")
