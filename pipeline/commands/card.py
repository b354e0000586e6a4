"""The card of a dataset: what is in it, where it came from and how far it can be trusted."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import click
import pandas as pd
import pyarrow.parquet as pq

from pipeline.charts.contact_sheet import draw_sheet, pick
from pipeline.charts.fonts import drawable
from pipeline.commands.card_markdown import Facts, card
from pipeline.core.errors import PipelineError, Stage
from pipeline.core.files import read_json, write_text
from pipeline.dataset.paths import dataset_folder, reports_folder
from pipeline.dataset.samples import read_samples
from pipeline.dataset.stored_images import read_images

PICTURES = 64  # on a sheet; with more classes, one of each
CLASSES = 256  # on a sheet
COLUMNS = (
    "sample_id",
    "content_id",
    "label",
    "label_name",
    "romanised",
    "group",
    "original_format",
    "source_url",
    "page_url",
    "engine",
    "licence",
    "licence_url",
)


def read_facts(dataset: str) -> Facts:
    """Read what the stages have left so far. Raises PipelineError when there are no samples."""
    folder, policy = dataset_folder(dataset), None
    samples = read_samples(dataset, COLUMNS).to_pandas().astype(object)
    samples = samples.where(samples.notna(), None).set_index("sample_id", drop=False)
    samples["part"] = samples["status"] = None
    if (folder / "split.csv").exists():
        split = pd.read_csv(folder / "split.csv", dtype=str, keep_default_na=False)
        split = split.set_index("sample_id").reindex(samples.index)
        samples["part"] = split["part"]
        called = samples.groupby("label")[["label_name", "romanised"]].first().to_dict()
        samples["label"] = split["label"].fillna(samples["label"])  # as people decided
        for name, by_label in called.items():
            samples[name] = [by_label[label] for label in samples["label"]]
    if (folder / "dedupe.parquet").exists():
        marks = pq.read_table(folder / "dedupe.parquet", columns=["sample_id", "status"])
        policy = json.loads(marks.schema.metadata[b"policy"])
        samples["status"] = marks.to_pandas().set_index("sample_id")["status"]
    rejected: Counter[str] = Counter()
    if (folder / "rejected.csv").exists():
        with (folder / "rejected.csv").open(encoding="utf-8", newline="") as file:
            rejected.update(row["reason"] for row in csv.DictReader(file))
    reports = [reports_folder(dataset) / f"{stage}.json" for stage in ("dedupe", "split")]
    dedupe, parts = (read_json(path) if path.exists() else None for path in reports)
    return Facts(dataset, samples, rejected, policy, dedupe, parts)


def chosen(facts: Facts, per_class: int | None) -> dict[str, list[str]]:
    """Return sample ids for the sheet by caption: of those in use, by content id, so by chance."""
    samples = facts.samples
    in_use = samples[(samples["status"].fillna("keep") == "keep") & (samples["part"] != "out")]
    in_use = in_use[in_use["label"].isin(sorted(in_use["label"].unique())[:CLASSES])]
    labels = in_use["label"].nunique()
    count = min(8, max(1, PICTURES // max(1, labels))) if per_class is None else per_class
    names = in_use.drop_duplicates("label").set_index("label")[["label_name", "romanised"]]
    rows = in_use[["label", "content_id", "sample_id"]].itertuples(index=False, name=None)
    found = {}
    for number, (label, ids) in enumerate(pick(rows, count).items(), start=1):
        words = [drawable(label) or f"class {number}", *map(drawable, names.loc[label])]
        found[" ".join(dict.fromkeys(filter(None, words)))] = ids
    return found


@click.command(cls=Stage)
@click.argument("dataset")
@click.option("--pictures", type=click.IntRange(0, 64), help="Of each class on the sheet; 0: none.")
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write README.md and card.png there, ready to be published with samples.parquet.",
)
def main(dataset: str, pictures: int | None, folder: Path | None) -> None:
    """Write a dataset's card: counts, sources, licences, duplicates, splits and leaks.

    It goes to data/DATASET/reports/card.md, in the form of the Hugging Face hub; a sheet of its
    pictures to data/DATASET/card.png, which git leaves alone: the pictures are other people's.

    \b
    Examples:
      kalai card dances
      kalai card dances --to published
    """
    page = folder / "README.md" if folder else reports_folder(dataset) / "card.md"
    sheet = (folder or dataset_folder(dataset)) / "card.png"
    is_drawn = pictures != 0
    link = None if not is_drawn else "card.png" if folder else "../card.png"
    try:
        facts = read_facts(dataset)
        text = card(facts, link)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise PipelineError(
            f"{dataset_folder(dataset)}: damaged or of another version ({error!r}); run `dvc repro`"
        ) from error
    if is_drawn:
        ids = chosen(facts, pictures)
        images = read_images(dataset, [name for row in ids.values() for name in row])
        draw_sheet(sheet, {text: [images[name] for name in row] for text, row in ids.items()})
    write_text(page, text)
    click.echo(f"{page}" + (f" and {sheet}" if is_drawn else ""))
