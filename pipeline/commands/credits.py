"""`kalai credits`: list the creator, page and licence of every image in use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from pipeline.commands.markdown import escaped, linked
from pipeline.core.errors import Stage
from pipeline.core.files import write_csv, write_text
from pipeline.dataset.columns import (
    ATTRIBUTION,
    CREATOR,
    ENGINE,
    LABEL,
    LABEL_NAME,
    LICENCE,
    LICENCE_URL,
    PAGE_URL,
    PART,
    SAMPLE_ID,
    SOURCE_URL,
)
from pipeline.dataset.paths import reports_folder, split_path
from pipeline.dataset.samples import read_samples
from pipeline.dataset.split_table import PARTS, read_split
from pipeline.dataset.tables import damaged

HEADER = (
    SAMPLE_ID,
    PART,
    LABEL,
    LABEL_NAME,
    ATTRIBUTION,
    CREATOR,
    LICENCE,
    LICENCE_URL,
    PAGE_URL,
    SOURCE_URL,
    ENGINE,
)
UNKNOWN = "unknown"

Credit = Mapping[str, Any]  # values by the names in HEADER


@click.command(cls=Stage)
@click.argument("dataset", default="dances")
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write into this folder. [default: data/DATASET/reports]",
)
def main(dataset: str, folder: Path | None) -> None:
    """Write credits.csv and credits.md for exactly the images in use.

    Images in use are those of the training, validation and test set. Creator, licence and page are
    those that the search engine or the dataset's table stated.

    \b
    Example:
      kalai credits dances --to published
    """
    folder = folder or reports_folder(dataset)
    samples = read_samples(dataset, [name for name in HEADER if name != PART])
    credits = credits_of(dataset, samples.to_pylist(), parts_in_use(dataset))
    write_csv(
        folder / "credits.csv", HEADER, ([credit[name] for name in HEADER] for credit in credits)
    )
    write_text(folder / "credits.md", markdown(dataset, credits))
    click.echo(
        f"{folder}/credits.csv and credits.md: {len(credits)} images; "
        f"licences: {licence_counts(credits)}"
    )


def parts_in_use(dataset: str) -> dict[str, str]:
    """Return the part of every sample in use, by sample id.

    Raises PipelineError if there is no split.
    """
    return {row.sample_id: row.part for row in read_split(dataset) if row.part in PARTS}


def credits_of(dataset: str, samples: Iterable[Credit], parts: Mapping[str, str]) -> list[Credit]:
    """Return the credits of the samples that have a part, sorted by label and sample id.

    Raises PipelineError if a part names a sample that does not exist.
    """
    credits = [
        {**sample, PART: parts[sample[SAMPLE_ID]]}
        for sample in samples
        if sample[SAMPLE_ID] in parts
    ]
    if missing := parts.keys() - {credit[SAMPLE_ID] for credit in credits}:
        raise damaged(
            split_path(dataset),
            f"{len(missing)} of its samples are not in samples.parquet, such as {min(missing)}",
        )
    return sorted(credits, key=lambda credit: (credit[LABEL], credit[SAMPLE_ID]))


def licence_counts(credits: Iterable[Credit]) -> str:
    """Return the number of images by licence: `by 12, cc0 3, unknown 7`."""
    counts = Counter(credit[LICENCE] or UNKNOWN for credit in credits)
    return ", ".join(f"{licence} {count}" for licence, count in sorted(counts.items())) or "none"


def markdown(dataset: str, credits: list[Credit]) -> str:
    """Return the credits in Markdown, one section per label."""
    lines = [f"# Credits: {escaped(dataset)}", ""]
    if not credits:
        return "\n".join([*lines, "No images are in use.", ""])
    lines += [f"{len(credits)} images in use. Licences: {licence_counts(credits)}.", ""]
    if any(credit[LICENCE] is None for credit in credits):
        lines += ["Ask the maker before you publish an image whose licence is unknown.", ""]
    for _, group in groupby(credits, key=lambda credit: credit[LABEL]):
        of_label = list(group)
        lines += [f"## {escaped(of_label[0][LABEL_NAME])}", ""]
        lines += [f"- {credit_line(credit)}" for credit in of_label]
        lines.append("")
    return "\n".join(lines)


def credit_line(credit: Credit) -> str:
    """Return the credit of one image in Markdown: attribution with its page, licence, sample id."""
    maker = credit[ATTRIBUTION] or f"creator: {credit[CREATOR] or UNKNOWN}"
    licence = credit[LICENCE]
    parts = [
        linked(maker, credit[PAGE_URL] or credit[SOURCE_URL]),
        f"licence: {linked(licence, credit[LICENCE_URL]) if licence else UNKNOWN}",
        f"`{credit[SAMPLE_ID]}`",
    ]
    return ", ".join(parts)
