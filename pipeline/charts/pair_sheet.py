"""Sheets of the pairs that dedupe found, side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image, ImageDraw

from pipeline.charts.contact_sheet import save, thumbnail, write
from pipeline.dataset import pairs_table
from pipeline.dataset.columns import DISTANCE, KEEPER_ID, KIND, REASON, SAMPLE_ID, STATUS, A, B
from pipeline.dataset.dedupe_result import KEEP, LABEL_CONFLICT, NEAR_DUPLICATE, read_marks
from pipeline.dataset.pairs_table import read_pairs
from pipeline.dataset.stored_images import read_images

Pair = tuple[str, str, int]  # two sample ids (the keeper first) and the distance in bits
# What became of the pairs, by the reason in dedupe.parquet or the kind in pairs.parquet.
KINDS = {
    NEAR_DUPLICATE: "near-duplicates, the left one kept",
    LABEL_CONFLICT: "one image under two labels, out until a person decides",
    **{name: kind.caption for name, kind in pairs_table.KINDS.items()},
}
SIDE = 150  # pixels of an image: enough to see whether a pair is a duplicate
GAP, APART = 4, 16  # pixels: between the two images of a pair, and between pairs
WIDE = 2 * SIDE + GAP + APART
CAPTION, HEADING = 36, 26  # pixels: two lines below an image, one line above a kind
ACROSS, DOWN = 4, 6  # pairs on a sheet


def pairs_by_kind(dataset: str) -> dict[str, list[Pair]]:
    """Return the removed and the possible duplicates by kind, in the order of KINDS.

    The least similar pairs come first: mistakes are most likely there. Raises PipelineError if
    dedupe has not run, or if a table is damaged.
    """
    marks, similar = read_marks(dataset), read_pairs(dataset)
    found: dict[str, list[Pair]] = {kind: [] for kind in KINDS}
    reasons = pa.array([NEAR_DUPLICATE, LABEL_CONFLICT])
    for row in marks.filter(pc.is_in(marks[REASON], reasons)).to_pylist():
        if row[SAMPLE_ID] != row[KEEPER_ID]:
            found[row[REASON]].append((row[KEEPER_ID], row[SAMPLE_ID], row[DISTANCE]))
    kept = marks[SAMPLE_ID].filter(pc.equal(marks[STATUS], KEEP))
    both_kept = pc.and_(*(pc.is_in(similar[end], kept) for end in (A, B)))
    for row in similar.filter(both_kept).to_pylist():
        if row[KIND] in found:
            found[row[KIND]].append((row[A], row[B], row[DISTANCE]))
    return {kind: sorted(pairs, key=lambda pair: -pair[2]) for kind, pairs in found.items()}


def sheet(pairs: Sequence[Pair], images: Mapping[str, bytes]) -> Image.Image:
    """Draw pairs, ACROSS in a row: two images side by side, their names and their distance.

    `images` are the encoded images by sample id.
    """
    rows = math.ceil(len(pairs) / ACROSS)
    canvas = Image.new("RGB", (ACROSS * WIDE, rows * (SIDE + CAPTION + 8)), "white")
    pen = ImageDraw.Draw(canvas)
    for place, (keeper, other, bits) in enumerate(pairs):
        x = place % ACROSS * WIDE + APART // 2
        y = place // ACROSS * (SIDE + CAPTION + 8)
        for offset, name in enumerate((keeper, other)):
            canvas.paste(thumbnail(images[name], SIDE), (x + offset * (SIDE + GAP), y))
        distance = f"distance {bits} bits: " if bits >= 0 else ""
        write(pen, (x, y + SIDE + 3), f"{distance}{keeper}", 2 * SIDE)
        write(pen, (x, y + SIDE + 19), other, 2 * SIDE)
    return canvas


def sheets(dataset: str, most: int) -> Iterator[tuple[str, Image.Image]]:
    """Yield (file name, sheet), at most `most` sheets for each kind."""
    size = ACROSS * DOWN
    shown = {kind: pairs[: most * size] for kind, pairs in pairs_by_kind(dataset).items()}
    images = _images(dataset, shown)
    for kind, pairs in shown.items():
        for start in range(0, len(pairs), size):
            number = start // size + 1
            yield f"{kind}-{number:02}.png", sheet(pairs[start : start + size], images)


def _images(dataset: str, shown: Mapping[str, Sequence[Pair]]) -> dict[str, bytes]:
    wanted = {name for pairs in shown.values() for pair in pairs for name in pair[:2]}
    return read_images(dataset, sorted(wanted))


def draw_duplicates(path: Path, dataset: str, lines: int = 2) -> None:
    """Draw the first `lines` rows of every kind on one sheet, each kind under its heading."""
    found = {kind: pairs for kind, pairs in pairs_by_kind(dataset).items() if pairs}
    shown = {kind: pairs[: lines * ACROSS] for kind, pairs in found.items()}
    images = _images(dataset, shown)
    parts: list[tuple[str, Image.Image | None]] = []
    for kind, pairs in shown.items():
        some = "" if len(pairs) == len(found[kind]) else f", the {len(pairs)} least similar"
        parts.append((f"{len(found[kind])} {KINDS[kind]}{some}", sheet(pairs, images)))
    parts = parts or [("No duplicates found", None)]
    height = sum(HEADING + (part.height if part else 0) for _, part in parts)
    canvas = Image.new("RGB", (ACROSS * WIDE, height), "white")
    pen, y = ImageDraw.Draw(canvas), 0
    for heading, part in parts:
        write(pen, (APART // 2, y + 4), heading, canvas.width, size=15)
        y += HEADING
        if part:
            canvas.paste(part, (0, y))
            y += part.height
    save(canvas, path)
