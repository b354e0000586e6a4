"""`kalai lookalikes`: draw the pairs that dedupe joined, side by side."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.charts.contact_sheet import save
from pipeline.charts.pair_sheet import sheets
from pipeline.core.errors import Stage
from pipeline.dataset.paths import cache_folder


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
    folder = target or cache_folder(dataset) / "sheets"
    count = 0
    for name, drawn in sheets(dataset, most):
        save(drawn, folder / name)
        count += 1
    click.echo(f"{count} sheets in {folder}")
