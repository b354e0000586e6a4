"""Contact sheets: many small images on one PNG, with captions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageOps

from pipeline.charts.fonts import pillow_font, runs
from pipeline.core.errors import Rejected
from pipeline.core.files import replacing
from pipeline.images.normalise import open_rgb

CELL, GAP, CAPTION = 96, 6, 20  # pixels: image side, gap between images, line of text
APART = 24  # pixels between classes in one row
WIDTH = 8  # images in a row
TEXT = 13  # pixels


def pick(rows: Iterable[tuple[str, str, str]], count: int) -> dict[str, list[str]]:
    """Return `count` sample ids for each label: those with the smallest content ids.

    Content ids are hashes, so the choice is random and reproducible. Each row is (label, content
    id, sample id). The result is sorted by label.
    """
    by_label = groupby(sorted(rows), key=lambda row: row[0])
    return {label: [row[2] for row in group][:count] for label, group in by_label}


def draw_sheet(
    path: Path,
    classes: Mapping[str, Sequence[bytes]],
    *,
    width: int = WIDTH,
    colours: int | None = 256,
) -> None:
    """Draw the images of every class under its caption, and write the sheet as PNG.

    Small classes share a row of `width` images. `colours` limits the palette, for a small file;
    None keeps all colours.
    """
    widest = max((len(images) for images in classes.values()), default=1)
    beside = max(1, min(width // max(widest, 1), len(classes)))  # classes in a row
    step_x, step_y = widest * (CELL + GAP) - GAP + APART, CAPTION + CELL + GAP
    lines = -(-len(classes) // beside)
    size = (beside * step_x - APART + 2 * GAP, lines * step_y + GAP)
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for number, (text, images) in enumerate(classes.items()):
        x, y = GAP + number % beside * step_x, GAP + number // beside * step_y
        write(pen, (x, y), text, step_x - APART)
        for place, data in enumerate(images):
            sheet.paste(thumbnail(data, CELL), (x + place * (CELL + GAP), y + CAPTION))
    save(sheet, path, colours)


class Cell(NamedTuple):
    """An encoded image on a sheet, and the lines of text below it."""

    image: bytes
    lines: tuple[str, ...]


def draw_cells(path: Path, cells: Sequence[Cell], side: int = 144) -> None:
    """Draw images of `side` pixels with text below each, WIDTH in a row, and write the PNG."""
    tall = max((len(cell.lines) for cell in cells), default=0)
    step_x, step_y = side + 2 * GAP, side + tall * CAPTION + 2 * GAP
    rows = max(1, -(-len(cells) // WIDTH))
    sheet = Image.new("RGB", (WIDTH * step_x + GAP, rows * step_y + GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for number, cell in enumerate(cells):
        x, y = GAP + number % WIDTH * step_x, GAP + number // WIDTH * step_y
        sheet.paste(thumbnail(cell.image, side), (x, y))
        for place, line in enumerate(cell.lines):
            write(pen, (x, y + side + 2 + place * CAPTION), line, side)
    save(sheet, path)


def write(
    pen: ImageDraw.ImageDraw, at: tuple[int, int], text: str, width: int, size: int = TEXT
) -> None:
    """Draw one line of text, cut to at most `width` pixels."""
    pieces = [(piece, pillow_font(file, size)) for piece, file in runs(text)]
    while sum(pen.textlength(piece, font) for piece, font in pieces) > width and pieces:
        piece, font = pieces.pop()
        if len(piece) > 2:
            pieces.append((f"{piece[:-2].rstrip('…')}…", font))
    x, y = at
    for piece, font in pieces:
        pen.text((x, y + size), piece, "black", font, anchor="ls")  # all pieces on one baseline
        x += round(pen.textlength(piece, font))


def thumbnail(data: bytes, side: int) -> Image.Image:
    """Return the whole image in a square; a grey square if it cannot be decoded."""
    try:
        return ImageOps.pad(open_rgb(data), (side, side), color="white")
    except Rejected:
        return Image.new("RGB", (side, side), "lightgrey")


def save(sheet: Image.Image, path: Path, colours: int | None = None) -> None:
    """Write a sheet as PNG, atomically."""
    with replacing(path) as temporary:
        (sheet.quantize(colours) if colours else sheet).save(temporary, "PNG", optimize=True)
