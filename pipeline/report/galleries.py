"""Pictures of samples for the page: small, and in it. They are read once for all galleries."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.charts.contact_sheet import pick
from pipeline.charts.pair_sheet import KINDS, pairs_by_kind
from pipeline.core.errors import PipelineError, Rejected
from pipeline.dataset.labels import ClassNames, class_names
from pipeline.dataset.paths import dataset_folder, predictions_path, samples_path, split_path
from pipeline.dataset.samples import read_samples
from pipeline.dataset.stored_images import read_images
from pipeline.images.normalise import open_rgb
from pipeline.report.blocks import Block, Gallery, Group, Link, Missing, Picture
from pipeline.report.sections import data_uri

SIDE = 112  # pixels, of a small picture
QUALITY = 80  # of WebP
CLASSES, FEW = 256, 16  # classes shown; up to FEW 6 pictures of each, then one
PAIRS, CONFUSED, LOSSES = 6, 8, 24  # pictures of lookalikes of a kind, pairs, samples
EXAMPLES = 4  # of a pair that was confused, and half as many of what is right

COLUMNS = ("sample_id", "content_id", "label", "label_name", "romanised", "page_url", "source_url")


class Shown(NamedTuple):
    """A sample that is to be shown, and what is said of it."""

    sample_id: str
    note: str


class Planned(NamedTuple):
    """Groups of samples under a caption: (title, samples)."""

    caption: str
    groups: Sequence[tuple[str, Sequence[Shown]]]


@dataclass(frozen=True)
class Data:
    """What is known of a dataset's samples, but for their pictures."""

    dataset: str
    rows: Mapping[str, Mapping[str, str | None]]  # by sample id
    names: ClassNames  # by label

    def called(self, label: str) -> str:
        """Return a label's name for people; a browser has the fonts."""
        known = self.names[label]
        return known.name if known.romanised is None else f"{known.name} {known.romanised}"


def galleries(dataset: str) -> dict[str, list[Block]]:
    """Return the galleries by name, or what is missing for them.

    Raises PipelineError where a table is damaged.
    """
    plans = {
        "classes": of_classes,
        "duplicates": of_duplicates,
        "confused": of_confused,
        "losses": of_losses,
    }
    if not samples_path(dataset).exists():
        without = Missing("The pictures are not here", f"dvc pull data/{dataset}/samples.parquet")
        return {name: [without] for name in plans}
    table = read_samples(dataset, COLUMNS)
    rows = {row["sample_id"]: row for row in table.to_pylist()}
    data = Data(dataset, rows, class_names(table))
    try:
        planned = {name: plan(data) for name, plan in plans.items()}
    except (pa.ArrowException, KeyError, ValueError) as error:
        folder = dataset_folder(dataset)
        raise PipelineError(f"{folder}: damaged or of another version ({error!r})") from error
    wanted = {
        sample.sample_id
        for plan in planned.values()
        if isinstance(plan, Planned)
        for _, samples in plan.groups
        for sample in samples
    }
    sources = {
        name: small(picture) for name, picture in read_images(dataset, sorted(wanted)).items()
    }
    return {
        name: [plan] if isinstance(plan, Missing) else drawn(plan, data, sources)
        for name, plan in planned.items()
    }


def small(picture: bytes) -> str | None:
    """Return a picture, reduced, as an address that holds it; None where it cannot be opened."""
    try:
        image = open_rgb(picture)
    except Rejected:
        return None
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY)
    return data_uri(buffer.getvalue(), "webp")


def drawn(plan: Planned, data: Data, sources: Mapping[str, str | None]) -> list[Block]:
    """Return a gallery of what was planned; nothing of nothing."""
    groups = []
    for title, samples in plan.groups:
        pictures = []
        for sample_id, note in samples:
            source = sources.get(sample_id)
            if source is not None:
                row = data.rows[sample_id]
                label = data.called(str(row["label"]))
                said = note if note.startswith(label) else f"{label}: {note or sample_id}"
                page = Link("source", row["page_url"] or row["source_url"])
                pictures.append(Picture(source, said, note, page if page.address else None))
        groups.append(Group(title, pictures))
    return [Gallery(plan.caption, groups)] if groups else []


def of_classes(data: Data) -> Planned | Missing:
    """Plan a few pictures of each class, by chance: of those in use, of all before the split."""
    path = split_path(data.dataset)
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["part"] != "out"]
    else:
        rows = [{key: str(value) for key, value in row.items()} for row in data.rows.values()]
    labels = sorted({row["label"] for row in rows})[:CLASSES]
    count = 6 if len(labels) <= FEW else 1
    known = set(labels)
    picked = pick(
        (
            (row["label"], row["content_id"], row["sample_id"])
            for row in rows
            if row["label"] in known and row["sample_id"] in data.rows
        ),
        count,
    )
    groups = [
        (data.called(label), [Shown(sample_id, "") for sample_id in ids])
        for label, ids in picked.items()
    ]
    return Planned("Pictures of each class, drawn by lot", groups)


def of_duplicates(data: Data) -> Planned | Missing:
    """Plan pairs of what looks alike, the least alike first."""
    folder = dataset_folder(data.dataset)
    if not all((folder / name).exists() for name in ("dedupe.parquet", "pairs.parquet")):
        return Missing("No lookalikes are here", f"dvc repro dedupe@{data.dataset}")
    groups = []
    for kind, pairs in pairs_by_kind(data.dataset).items():
        for first, second, bits in pairs[:PAIRS]:
            apart = f", {bits} bits apart" if bits >= 0 else ""
            both = [
                Shown(name, data.called(str(data.rows[name]["label"]))) for name in (first, second)
            ]
            groups.append((f"{KINDS[kind]}{apart}", both))
    return Planned("What looks alike, the least alike first", groups)


class Predicted(NamedTuple):
    """A sample of a part that was not trained on, and what the model makes of it."""

    sample_id: str
    part: str
    label: str
    predicted: str
    probability: float
    loss: float


def predictions(dataset: str) -> list[Predicted] | None:
    """Read what the model predicted; None where it has not been asked."""
    path = predictions_path(dataset)
    if not path.exists():
        return None
    table = pq.read_table(path, columns=[*Predicted._fields])
    return [Predicted(**row) for row in table.to_pylist()]


def of_confused(data: Data) -> Planned | Missing:
    """Plan samples of the most confused pairs, and what the two classes look like."""
    found = predictions(data.dataset)
    if found is None:
        return Missing("No predictions are here", f"dvc repro evaluate@{data.dataset}")
    part = "test" if any(row.part == "test" for row in found) else "valid"
    found = sorted((row for row in found if row.part == part), key=lambda row: -row.probability)
    total = Counter(row.label for row in found)
    pairs = Counter((row.label, row.predicted) for row in found if row.label != row.predicted)
    groups: list[tuple[str, Sequence[Shown]]] = []
    by_count = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))
    for (label, taken), count in by_count[:CONFUSED]:
        wrong = [row for row in found if (row.label, row.predicted) == (label, taken)][:EXAMPLES]
        samples = [
            Shown(row.sample_id, f"taken for {data.called(taken)}, {row.probability:.0%}")
            for row in wrong
        ]
        for of in (label, taken):
            right = [row for row in found if row.label == row.predicted == of][: EXAMPLES // 2]
            samples += [Shown(row.sample_id, f"{data.called(of)}, rightly") for row in right]
        words = f"{data.called(label)} taken for {data.called(taken)}: {count} of {total[label]}"
        groups.append((words, samples))
    return Planned(f"Confused in the {part} part, with what the two classes look like", groups)


def of_losses(data: Data) -> Planned | Missing:
    """Plan the samples that surprised the model most."""
    found = predictions(data.dataset)
    if found is None:
        return Missing("No predictions are here", f"dvc repro evaluate@{data.dataset}")
    worst = sorted(found, key=lambda row: -row.loss)[:LOSSES]
    samples = []
    for row in worst:
        is_right = row.label == row.predicted
        verdict = "rightly" if is_right else f"taken for {data.called(row.predicted)}"
        said = f"{data.called(row.label)}, {verdict}, {row.probability:.0%} ({row.part})"
        samples.append(Shown(row.sample_id, said))
    return Planned("What surprised the model most", [("", samples)] if samples else [])
