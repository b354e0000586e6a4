"""`kalai lookalikes`: what dedupe joined, side by side, for the eye."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from pipeline.errors import PipelineError, Stage
from pipeline.samples import dataset_folder, samples_path
from pipeline.sheet import read_pictures, save, thumbnail, write

Pair = tuple[str, str, int]  # two sample ids (the keeper first) and the bits between them
KINDS = {  # what there is to look at, and what became of it
    "near-duplicate": "near duplicates, the left one kept",
    "label-conflict": "one picture under two labels, out until a person decides",
    "review": "perhaps duplicates, both kept",
    "mirror": "mirror images, both kept, in one part",
    "crop": "perhaps crops, both kept",
}
SIDE = 150  # pixels; two of them tell a duplicate
GAP, APART = 4, 16  # pixels: between the two, and between pairs
WIDE = 2 * SIDE + GAP + APART
CAPTION, HEADING = 36, 26  # pixels: two lines below a picture, a line above a kind
ACROSS, DOWN = 4, 6  # pairs on a sheet


def pairs_by_kind(dataset: str) -> dict[str, list[Pair]]:
    """Return what there is to look at, the least alike first: there the mistakes are."""
    tables = []
    for name in ("dedupe.parquet", "pairs.parquet"):
        path = dataset_folder(dataset) / name
        if not path.exists():
            raise PipelineError(f"{path}: no such file; run `dvc repro dedupe@{dataset}`")
        tables.append(pq.read_table(path))
    marks, links = tables
    found: dict[str, list[Pair]] = {kind: [] for kind in KINDS}
    for row in marks.filter(pc.is_in(marks["reason"], pa.array(KINDS))).to_pylist():
        if row["sample_id"] != row["keeper_id"]:
            found[row["reason"]].append((row["keeper_id"], row["sample_id"], row["distance"]))
    kept = marks["sample_id"].filter(pc.equal(marks["status"], "keep"))
    both = pc.and_(*(pc.is_in(links[end], kept) for end in "ab"))
    for row in links.filter(both).to_pylist():
        kind = "review" if row["kind"] == "near" else row["kind"]
        if kind in found:
            found[kind].append((row["a"], row["b"], row["distance"]))
    return {kind: sorted(pairs, key=lambda pair: -pair[2]) for kind, pairs in found.items()}


def sheet(pairs: Sequence[Pair], pictures: Mapping[str, bytes]) -> Image.Image:
    """Draw pairs, ACROSS in a line, each two pictures with their names and the bits between."""
    rows = math.ceil(len(pairs) / ACROSS)
    canvas = Image.new("RGB", (ACROSS * WIDE, rows * (SIDE + CAPTION + 8)), "white")
    pen = ImageDraw.Draw(canvas)
    for place, (keeper, other, bits) in enumerate(pairs):
        x = place % ACROSS * WIDE + APART // 2
        y = place // ACROSS * (SIDE + CAPTION + 8)
        for offset, name in enumerate((keeper, other)):
            canvas.paste(thumbnail(pictures[name], SIDE), (x + offset * (SIDE + GAP), y))
        apart = f"{bits} bits apart: " if bits >= 0 else ""
        write(pen, (x, y + SIDE + 3), f"{apart}{keeper}", 2 * SIDE)
        write(pen, (x, y + SIDE + 19), other, 2 * SIDE)
    return canvas


def sheets(dataset: str, most: int) -> Iterator[tuple[str, Image.Image]]:
    """Give (name, sheet) of at most `most` sheets a kind."""
    size = ACROSS * DOWN
    shown = {kind: pairs[: most * size] for kind, pairs in pairs_by_kind(dataset).items()}
    pictures = _pictures(dataset, shown)
    for kind, pairs in shown.items():
        for start in range(0, len(pairs), size):
            number = start // size + 1
            yield f"{kind}-{number:02}.png", sheet(pairs[start : start + size], pictures)


def _pictures(dataset: str, shown: Mapping[str, Sequence[Pair]]) -> dict[str, bytes]:
    wanted = {name for pairs in shown.values() for pair in pairs for name in pair[:2]}
    return read_pictures(samples_path(dataset), sorted(wanted))


def draw_duplicates(path: Path, dataset: str, lines: int = 2) -> None:
    """Draw a few `lines` of every kind under its heading, on one sheet."""
    found = {kind: pairs for kind, pairs in pairs_by_kind(dataset).items() if pairs}
    shown = {kind: pairs[: lines * ACROSS] for kind, pairs in found.items()}
    pictures = _pictures(dataset, shown)
    parts: list[tuple[str, Image.Image | None]] = []
    for kind, pairs in shown.items():
        some = "" if len(pairs) == len(found[kind]) else f", the {len(pairs)} least alike"
        heading = f"{len(found[kind])} {KINDS[kind]}{some}"
        parts.append((heading, sheet(pairs, pictures)))
    parts = parts or [("Nothing looks like anything else", None)]
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


@click.command(cls=Stage)
@click.argument("dataset")
@click.option("--most", default=4, show_default=True, help="Sheets of each kind.")
@click.option("--to", "target", type=click.Path(path_type=Path), help="Another folder.")
def main(dataset: str, most: int, target: Path | None) -> None:
    """Draw what dedupe removed and asks about, side by side.

    The sheets hold other people's photos: they go to the dataset's cache, which git ignores.

    \b
    Example:
      kalai lookalikes dances
    """
    folder = target or dataset_folder(dataset) / "cache" / "sheets"
    count = 0
    for name, drawn in sheets(dataset, most):
        save(drawn, folder / name)
        count += 1
    click.echo(f"{count} sheets in {folder}")


if __name__ == "__main__":
    main()
