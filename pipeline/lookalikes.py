"""`kalai lookalikes`: what dedupe joined, side by side, for the eye."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageFont, ImageOps

from pipeline.errors import PipelineError, Stage
from pipeline.files import replacing
from pipeline.images import open_rgb
from pipeline.samples import dataset_folder, samples_path

Pair = tuple[str, str, int]  # two sample ids (the keeper first) and the bits between them
KINDS = ("near-duplicate", "label-conflict", "review", "mirror", "crop")
SIDE = 150  # pixels; two of them tell a duplicate
CAPTION = 26  # pixels: two lines
ACROSS, DOWN = 4, 6  # pairs on a sheet


def pairs_by_kind(dataset: str) -> dict[str, list[Pair]]:
    """Return what there is to look at, the least alike first: there the mistakes are."""
    tables = []
    for name in ("dedupe.parquet", "pairs.parquet"):
        path = dataset_folder(dataset) / name
        if not path.exists():
            raise PipelineError(f"{path}: no such file; run `dvc repro dedupe@{dataset}`")
        tables.append(pq.read_table(path).to_pylist())
    marks, links = tables
    found: dict[str, list[Pair]] = {kind: [] for kind in KINDS}
    for row in marks:
        if row["reason"] in found and row["sample_id"] != row["keeper_id"]:
            found[row["reason"]].append((row["keeper_id"], row["sample_id"], row["distance"]))
    kept = {row["sample_id"] for row in marks if row["status"] == "keep"}
    for row in links:
        kind = "review" if row["kind"] == "near" else row["kind"]
        if kind in found and kept.issuperset((row["a"], row["b"])):
            found[kind].append((row["a"], row["b"], row["distance"]))
    return {kind: sorted(pairs, key=lambda pair: -pair[2]) for kind, pairs in found.items()}


def sheet(pairs: Sequence[Pair], pictures: dict[str, bytes]) -> Image.Image:
    """Draw up to ACROSS x DOWN pairs, each two pictures with their names and the bits between."""
    font = ImageFont.load_default(10)
    rows = math.ceil(len(pairs) / ACROSS)
    canvas = Image.new("RGB", (ACROSS * (2 * SIDE + 12), rows * (SIDE + CAPTION + 8)), "white")
    draw = ImageDraw.Draw(canvas)
    for place, (keeper, other, bits) in enumerate(pairs):
        x = place % ACROSS * (2 * SIDE + 12)
        y = place // ACROSS * (SIDE + CAPTION + 8)
        for offset, name in enumerate((keeper, other)):
            thumbnail = ImageOps.contain(open_rgb(pictures[name]), (SIDE, SIDE))
            canvas.paste(thumbnail, (x + offset * SIDE, y))
        apart = f"{bits} bits  " if bits >= 0 else ""
        draw.text((x, y + SIDE + 2), f"{apart}{keeper[:44]}", "black", font)
        draw.text((x, y + SIDE + 13), other[:52], "black", font)
    return canvas


def _pictures(path: Path, wanted: set[str]) -> dict[str, bytes]:
    found = {}
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(256, columns=["sample_id", "image"]):
            names, images = batch["sample_id"].to_pylist(), batch["image"].field("bytes")
            for name, data in zip(names, images, strict=True):
                if name in wanted:
                    found[name] = data.as_py()
    return found


def sheets(dataset: str, most: int) -> Iterator[tuple[str, Image.Image]]:
    """Give (name, sheet) of at most `most` sheets a kind."""
    size = ACROSS * DOWN
    shown = {kind: pairs[: most * size] for kind, pairs in pairs_by_kind(dataset).items()}
    wanted = {name for pairs in shown.values() for pair in pairs for name in pair[:2]}
    pictures = _pictures(samples_path(dataset), wanted)
    for kind, pairs in shown.items():
        for start in range(0, len(pairs), size):
            number = start // size + 1
            yield f"{kind}-{number:02}.png", sheet(pairs[start : start + size], pictures)


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
        with replacing(folder / name) as temporary:
            drawn.save(temporary, "PNG")
        count += 1
    click.echo(f"{count} sheets in {folder}")


if __name__ == "__main__":
    main()
