"""`kalai card`: write a dataset card and a contact sheet."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from pipeline.charts.contact_sheet import draw_sheet, pick
from pipeline.charts.fonts import drawable
from pipeline.commands.card_markdown import Facts, card
from pipeline.core.errors import Stage
from pipeline.core.files import write_text
from pipeline.dataset.columns import (
    CONTENT_ID,
    ENGINE,
    GROUP,
    LABEL,
    LABEL_NAME,
    LICENCE,
    LICENCE_URL,
    ORIGINAL_FORMAT,
    PAGE_URL,
    PART,
    ROMANISED,
    SAMPLE_ID,
    SOURCE_URL,
    STATUS,
)
from pipeline.dataset.dedupe_result import KEEP, read_marks, read_policy
from pipeline.dataset.labels import class_names
from pipeline.dataset.paths import (
    dedupe_path,
    rejected_path,
    report_path,
    reports_folder,
    sheet_path,
    split_path,
)
from pipeline.dataset.rejected import read_rejected
from pipeline.dataset.reports import read_report
from pipeline.dataset.samples import read_samples
from pipeline.dataset.split_table import OUT, read_split
from pipeline.dataset.stored_images import read_images

IMAGES = 64  # on a sheet; if there are more classes than this, one of each
CLASSES = 256  # on a sheet
COLUMNS = (
    SAMPLE_ID,
    CONTENT_ID,
    LABEL,
    LABEL_NAME,
    ROMANISED,
    GROUP,
    ORIGINAL_FORMAT,
    SOURCE_URL,
    PAGE_URL,
    ENGINE,
    LICENCE,
    LICENCE_URL,
)


def read_facts(dataset: str) -> Facts:
    """Return what the stages have written so far.

    Raises PipelineError if there are no samples or a file is damaged.
    """
    table = read_samples(dataset, COLUMNS)
    samples = table.to_pandas().astype(object)
    samples = samples.where(samples.notna(), None).set_index(SAMPLE_ID, drop=False)
    samples[PART] = samples[STATUS] = None
    if split_path(dataset).exists():
        rows = {row.sample_id: row for row in read_split(dataset)}
        found = [rows.get(sample_id) for sample_id in samples.index]
        samples[PART] = [row and row.part for row in found]
        samples[LABEL] = [  # split.csv has the labels after people's decisions
            row.label if row else label for row, label in zip(found, samples[LABEL], strict=True)
        ]
    policy = None
    if dedupe_path(dataset).exists():
        policy = read_policy(dataset)
        marks = read_marks(dataset, [SAMPLE_ID, STATUS])
        samples[STATUS] = marks.to_pandas().set_index(SAMPLE_ID)[STATUS]
    rejected: Counter[str] = Counter()
    if rejected_path(dataset).exists():
        rejected.update(row.reason for row in read_rejected(dataset))
    dedupe, split = (read_report(report_path(dataset, stage)) for stage in ("dedupe", "split"))
    return Facts(dataset, samples, class_names(table), rejected, policy, dedupe, split)


def chosen(facts: Facts, per_class: int | None) -> dict[str, list[str]]:
    """Return the ids of a few samples of each class, by the class's caption.

    They are the samples with the smallest content ids. Content ids are hashes, so the choice is
    random.
    """
    samples = facts.samples
    in_use = samples[(samples[STATUS].fillna(KEEP) == KEEP) & (samples[PART] != OUT)]
    in_use = in_use[in_use[LABEL].isin(sorted(in_use[LABEL].unique())[:CLASSES])]
    labels = in_use[LABEL].nunique()
    count = min(8, max(1, IMAGES // max(1, labels))) if per_class is None else per_class
    rows = in_use[[LABEL, CONTENT_ID, SAMPLE_ID]].itertuples(index=False, name=None)
    found = {}
    for number, (label, ids) in enumerate(pick(rows, count).items(), start=1):
        known = facts.names[label]
        words = [
            drawable(label) or f"class {number}",
            drawable(known.name),
            drawable(known.romanised),
        ]
        found[" ".join(dict.fromkeys(filter(None, words)))] = ids
    return found


@click.command(cls=Stage)
@click.argument("dataset")
@click.option(
    "--pictures",
    "per_class",
    type=click.IntRange(0, 64),
    metavar="N",
    help="Images of each class on the sheet; 0 draws no sheet.",
)
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write README.md and card.png there, to be published with samples.parquet.",
)
def main(dataset: str, per_class: int | None, folder: Path | None) -> None:
    """Write a dataset card: counts, sources, licences, duplicates, split and leaks.

    The card is data/DATASET/reports/card.md, in the format of the Hugging Face hub. A contact sheet
    is data/DATASET/card.png, which git ignores: the images belong to their creators.

    \b
    Examples:
      kalai card dances
      kalai card dances --to published
    """
    page = folder / "README.md" if folder else reports_folder(dataset) / "card.md"
    sheet = sheet_path(dataset, "card")
    sheet = folder / sheet.name if folder else sheet
    is_drawn = per_class != 0
    link = None if not is_drawn else sheet.name if folder else f"../{sheet.name}"
    facts = read_facts(dataset)
    text = card(facts, link)
    if is_drawn:
        ids = chosen(facts, per_class)
        images = read_images(dataset, [sample_id for row in ids.values() for sample_id in row])
        draw_sheet(sheet, {words: [images[name] for name in row] for words, row in ids.items()})
    write_text(page, text)
    click.echo(f"{page}" + (f" and {sheet}" if is_drawn else ""))
