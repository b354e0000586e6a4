"""Credits: who made the pictures in use, where they are and under what licence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from pipeline.core.errors import PipelineError, Stage
from pipeline.core.files import write_csv, write_text
from pipeline.dataset.paths import reports_folder
from pipeline.dataset.samples import read_samples
from pipeline.dataset.split_table import PARTS, read_split

HEADER = (
    "sample_id",
    "part",
    "label",
    "label_name",
    "attribution",
    "creator",
    "licence",
    "licence_url",
    "page_url",
    "source_url",
    "engine",
)
UNKNOWN = "unknown"

Credit = Mapping[str, Any]  # by the names of HEADER


@click.command(cls=Stage)
@click.argument("dataset", default="dances")
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to write; the dataset's reports folder unless given.",
)
def main(dataset: str, folder: Path | None) -> None:
    """Write credits.csv and credits.md for exactly the pictures in use.

    In use are the pictures of the parts train, valid and test. Each has its creator, licence and
    page as far as the search engine told them.

    \b
    Example:
      kalai credits dances --to published
    """
    folder = folder or reports_folder(dataset)
    columns = [name for name in HEADER if name != "part"]
    samples = read_samples(dataset, columns)
    parts = parts_in_use(dataset)
    credits = credits_of(samples.to_pylist(), parts)
    write_csv(
        folder / "credits.csv", HEADER, ([credit[name] for name in HEADER] for credit in credits)
    )
    write_text(folder / "credits.md", markdown(dataset, credits))
    click.echo(f"{folder}/credits.csv and .md: {len(credits)} pictures, {licences_line(credits)}")


def parts_in_use(dataset: str) -> dict[str, str]:
    """Return the part of every sample in use, by sample_id.

    Raises PipelineError if there is no split.
    """
    return {row.sample_id: row.part for row in read_split(dataset) if row.part in PARTS}


def credits_of(samples: Iterable[Credit], parts: Mapping[str, str]) -> list[Credit]:
    """Return the credits of the samples that have a part, by label and sample_id.

    Raises PipelineError when a part names a sample that is not there.
    """
    credits = [
        {**sample, "part": parts[sample["sample_id"]]}
        for sample in samples
        if sample["sample_id"] in parts
    ]
    if missing := parts.keys() - {credit["sample_id"] for credit in credits}:
        raise PipelineError(
            f"split.csv names {len(missing)} samples that samples.parquet lacks, "
            f"{min(missing)} among them; run `dvc repro`"
        )
    return sorted(credits, key=lambda credit: (credit["label"], credit["sample_id"]))


def licences_line(credits: Iterable[Credit]) -> str:
    """Return how many pictures each licence has: "by 12, cc0 3, unknown 7"."""
    counts = Counter(credit["licence"] or UNKNOWN for credit in credits)
    return ", ".join(f"{licence} {count}" for licence, count in sorted(counts.items()))


def markdown(dataset: str, credits: list[Credit]) -> str:
    """Return the credits as a page for people, a section a label."""
    lines = [f"# Credits: {escaped(dataset)}", ""]
    if not credits:
        return "\n".join([*lines, "No picture is in use.", ""])
    lines += [f"{len(credits)} pictures in use. Licences: {licences_line(credits)}.", ""]
    if any(credit["licence"] is None for credit in credits):
        lines += ["A picture whose licence is unknown may not be published without asking.", ""]
    for _, group in groupby(credits, key=lambda credit: credit["label"]):
        of_label = list(group)
        lines += [f"## {escaped(of_label[0]['label_name'])}", ""]
        lines += [f"- {credit_line(credit)}" for credit in of_label]
        lines.append("")
    return "\n".join(lines)


def credit_line(credit: Credit) -> str:
    """Return one picture's credit in Markdown: attribution, page, licence."""
    said = credit["attribution"] or f"{credit['creator'] or 'creator unknown'}"
    where = credit["page_url"] or credit["source_url"]
    licence = credit["licence"]
    parts = [
        linked(said, where),
        linked(licence, credit["licence_url"]) if licence else "licence unknown",
        f"`{credit['sample_id']}`",
    ]
    return ", ".join(parts)


def linked(text: str, url: str | None) -> str:
    """Return text from the web, linked when its address is one of the web; both are escaped."""
    if url is None or not url.lower().startswith(("http://", "https://")):
        return escaped(text)
    address = re.sub(r"[<>\s]", "", url)
    return f"[{escaped(text)}](<{address}>)"


def escaped(text: str) -> str:
    """Escape what Markdown or HTML would take for its own, and fold white space."""
    return re.sub(r"([\\`*_{}\[\]<>#|!&])", r"\\\1", " ".join(text.split()))
