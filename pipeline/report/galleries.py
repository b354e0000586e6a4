"""Galleries: thumbnails of samples, stored in the page. All are read in one pass."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.core.errors import Rejected
from pipeline.dataset.columns import (
    CONTENT_ID,
    LABEL,
    LABEL_NAME,
    LOSS,
    PAGE_URL,
    PART,
    PREDICTED,
    PROBABILITY,
    ROMANISED,
    SAMPLE_ID,
    SOURCE_URL,
)
from pipeline.dataset.labels import ClassNames, class_names
from pipeline.dataset.paths import predictions_path, samples_path
from pipeline.dataset.predictions import read_predictions
from pipeline.dataset.samples import read_samples
from pipeline.dataset.stored_images import read_images
from pipeline.dataset.tables import damaged
from pipeline.images.normalise import open_rgb
from pipeline.report.blocks import Block, Gallery, Group, Link, Missing, Thumbnail, data_uri

SIDE = 112  # pixels, of a thumbnail
QUALITY = 80  # of WebP
COLUMNS = (SAMPLE_ID, CONTENT_ID, LABEL, LABEL_NAME, ROMANISED, PAGE_URL, SOURCE_URL)


class Shown(NamedTuple):
    """A sample to show, and the note below it."""

    sample_id: str
    note: str


class Planned(NamedTuple):
    """A gallery before its images are read: groups of (title, samples) under a caption."""

    caption: str
    groups: Sequence[tuple[str, Sequence[Shown]]]


@dataclass(frozen=True)
class Data:
    """The samples of a dataset without their images."""

    dataset: str
    rows: Mapping[str, Mapping[str, str | None]]  # by sample id
    names: ClassNames  # by label

    def class_name(self, label: str) -> str:
        """Return the name of a label's class, with its romanisation if it has one."""
        known = self.names[label]
        return known.name if known.romanised is None else f"{known.name} {known.romanised}"

    def name_of(self, sample_id: str) -> str:
        """Return the class name of a sample."""
        return self.class_name(str(self.rows[sample_id][LABEL]))


Plan = Callable[[Data], Planned | Missing]


def galleries(dataset: str, plans: Collection[Plan]) -> dict[Plan, list[Block]]:
    """Return the blocks for each plan.

    A plan gets its gallery, a note of what is missing for it, or no blocks at all. Raises
    PipelineError if a table is damaged.
    """
    if not samples_path(dataset).exists():
        without = Missing("The images are not on this machine", f"dvc pull {samples_path(dataset)}")
        return {plan: [without] for plan in plans}
    table = read_samples(dataset, COLUMNS)
    data = Data(dataset, {row[SAMPLE_ID]: row for row in table.to_pylist()}, class_names(table))
    try:
        planned = {plan: plan(data) for plan in plans}
    except KeyError as error:
        raise damaged(samples_path(dataset), f"no sample {error}") from error
    wanted = {
        sample.sample_id
        for each in planned.values()
        if isinstance(each, Planned)
        for _, samples in each.groups
        for sample in samples
    }
    images = read_images(dataset, sorted(wanted))
    sources = {sample_id: thumbnail_uri(image) for sample_id, image in images.items()}
    return {
        plan: [each] if isinstance(each, Missing) else filled(each, data, sources)
        for plan, each in planned.items()
    }


def thumbnail_uri(image: bytes) -> str | None:
    """Return a reduced image as a data URI; None if it cannot be decoded."""
    try:
        opened = open_rgb(image)
    except Rejected:
        return None
    opened.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    opened.save(buffer, "WEBP", quality=QUALITY)
    return data_uri(buffer.getvalue(), "webp")


def filled(plan: Planned, data: Data, sources: Mapping[str, str | None]) -> list[Block]:
    """Return a planned gallery with its thumbnails; an empty list if it has no groups."""
    groups = []
    for title, samples in plan.groups:
        thumbnails = []
        for sample_id, note in samples:
            source = sources.get(sample_id)
            if source is not None:
                row, name = data.rows[sample_id], data.name_of(sample_id)
                alt = note if note.startswith(name) else f"{name}: {note or sample_id}"
                page = Link("source", row[PAGE_URL] or row[SOURCE_URL])
                thumbnails.append(Thumbnail(source, alt, note, page if page.address else None))
        groups.append(Group(title, thumbnails))
    return [Gallery(plan.caption, groups)] if groups else []


class Prediction(NamedTuple):
    """A sample of the validation or test set, and the model's answer."""

    sample_id: str
    part: str
    label: str
    predicted: str
    probability: float
    loss: float


def predictions_of(data: Data) -> list[Prediction] | Missing:
    """Return the predictions of a dataset's model, or a note of what is missing for them."""
    if not predictions_path(data.dataset).exists():
        return Missing("There are no predictions yet", f"dvc repro evaluate@{data.dataset}")
    columns = (SAMPLE_ID, PART, LABEL, PREDICTED, PROBABILITY, LOSS)
    table = read_predictions(data.dataset, columns)
    return [Prediction(*(row[name] for name in columns)) for row in table.to_pylist()]
