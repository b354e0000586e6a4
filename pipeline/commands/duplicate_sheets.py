"""`kalai lookalikes`: draw duplicates and possible duplicates side by side."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.charts.contact_sheet import save
from pipeline.charts.pair_sheet import sheets
from pipeline.core.errors import Stage
from pipeline.dataset.paths import cache_folder


@click.command(cls=Stage)
@click.argument("dataset")
@click.option(
    "--most", default=4, show_default=True, metavar="N", help="Sheets of each kind at most."
)
@click.option(
    "--to",
    "target",
    type=click.Path(path_type=Path),
    help="Write here. [default: data/DATASET/cache/sheets]",
)
def main(dataset: str, most: int, target: Path | None) -> None:
    """Draw duplicates and possible duplicates side by side.

    Each sheet shows pairs of one kind: removed near-duplicates, label conflicts, pairs to review,
    mirror images and crops. The images belong to their creators, so git ignores the folder.

    \b
    Example:
      kalai lookalikes dances
    """
    folder = target or cache_folder(dataset) / "sheets"
    count = 0
    for name, drawn in sheets(dataset, most):
        save(drawn, folder / name)
        count += 1
    click.echo(f"{count} sheets in {folder}")
