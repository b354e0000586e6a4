"""Stage: archived handwriting -> samples. Archives are streamed, never unpacked."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click

from pipeline.convert.classes import LetterClass, class_table
from pipeline.convert.hp_archive import Labels, Letter, choose, letter_of, walk
from pipeline.convert.letters import Converted, convert_letters
from pipeline.convert.on_dask import LETTERS, converted_on
from pipeline.core.errors import PipelineError, Rejected, Stage
from pipeline.core.files import write_json
from pipeline.core.params import Convert, load_params, section
from pipeline.core.processes import in_processes
from pipeline.core.progress import Progress
from pipeline.core.tarballs import Member
from pipeline.dataset.paths import archives_folder, report_path, samples_path
from pipeline.dataset.pen_settings import Drawing
from pipeline.dataset.rejected import write_rejected
from pipeline.dataset.samples import writing_samples
from pipeline.scale.dask import Cluster, workers

BATCH = 256  # letters drawn in one scatter and sent to a process at once
BATCH_BYTES = 8_000_000  # and no more than this, should they be large
ALONE_BELOW = 2_000_000  # bytes of archives for which starting processes does not pay

RejectedRow = tuple[str, str, str, str, str]  # sample_id, label, reason, detail, source


@dataclass(slots=True)
class Part:
    """What the archive of an official part held."""

    samples: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    writers: set[str] = field(default_factory=set)
    left_out: int = 0  # by per_class
    skipped: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)

    def count(self, converted: Converted) -> None:
        """Count a batch's samples."""
        labels = converted.columns["label"]
        self.samples += len(labels)
        self.classes.update(labels)
        self.writers.update(group for group in converted.columns["group"] if group)

    def report(self) -> dict[str, Any]:
        """Return the counts as the report has them."""
        return {
            "samples": self.samples,
            "classes": len(self.classes),
            "samples_per_class": {
                "least": min(self.classes.values(), default=0),
                "most": max(self.classes.values(), default=0),
            },
            "writers": len(self.writers),
            "left_out": self.left_out,
            "skipped": dict(sorted(self.skipped.items())),
            "rejected": dict(sorted(self.rejected.items())),
        }


@dataclass(slots=True)
class Intake:
    """Walks a dataset's archives, by official part, and keeps account of every member."""

    archives: Mapping[str, Path]
    classes: Mapping[str, LetterClass]
    per_class: int | None = None
    parts: dict[str, Part] = field(default_factory=dict)
    rejected: list[RejectedRow] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    def batches(
        self, progress: Progress, most: int = BATCH
    ) -> Iterator[tuple[Part, str, list[Letter]]]:
        """Give letters of each part, `most` in a batch; `progress` counts kilobytes read."""
        for name, path in self.archives.items():
            part = self.parts[name] = Part()
            batch: list[Letter] = []
            size = shown = 0
            for letter, read_bytes in self._letters(part, path):
                batch.append(letter)
                size += len(letter.data)
                if len(batch) == most or size > BATCH_BYTES:
                    yield part, name, batch
                    batch, size = [], 0
                    progress.advance(read_bytes // 1000 - shown)
                    shown = read_bytes // 1000
            if batch:
                yield part, name, batch
            progress.advance(path.stat().st_size // 1000 - shown)

    def _letters(self, part: Part, path: Path) -> Iterator[tuple[Letter, int]]:
        labels = Labels(path)
        chosen = self._choose(path, labels) if self.per_class else None
        for member in walk(path):
            try:
                letter = letter_of(member, path, labels)
                if isinstance(letter, str):
                    part.skipped[letter] += 1
                    continue
                self._judge(letter)
            except Rejected as verdict:
                self._reject(part, member, path, verdict)
                continue
            if chosen is None or letter.sample_id in chosen:
                yield letter, member.read_bytes
            else:
                part.left_out += 1

    def _judge(self, letter: Letter) -> None:
        if letter.class_id not in self.classes:
            raise Rejected("unlabelled", f"no class {letter.class_id!r} in the class table")
        if letter.sample_id in self._seen:
            raise Rejected("duplicate-member", "a member of this name came before")
        self._seen.add(letter.sample_id)

    def _reject(self, part: Part, member: Member, path: Path, verdict: Rejected) -> None:
        part.rejected[verdict.reason] += 1
        source = f"{path.name}:{member.name}"
        self.rejected.append((member.name, "", verdict.reason, verdict.detail, source))

    def _choose(self, path: Path, labels: Labels) -> set[str]:
        """Choose samples in a walk of their own: who else is there must be known first."""
        found: dict[str, tuple[str, str, str | None]] = {}
        for member in walk(path):
            try:
                letter = letter_of(member, path, labels)
            except Rejected:
                continue
            if isinstance(letter, Letter) and letter.class_id in self.classes:
                found[letter.sample_id] = (letter.sample_id, letter.class_id, letter.group)
        return choose(found.values(), self.per_class or 0)


def convert(
    dataset: str,
    intake: Intake,
    drawing: Drawing,
    processes: int | None = None,
    cluster: Cluster | None = None,
) -> dict[str, Any]:
    """Write samples.parquet and rejected.csv of a dataset and return the report.

    The work is done by a cluster, or by `processes` beside this one (None: as many as serve),
    which changes no byte of what is written. Raises PipelineError when an
    archive is damaged or holds no sample; samples.parquet then stays as it was.
    """
    kilobytes = sum(path.stat().st_size // 1000 for path in intake.archives.values())
    if processes is None:
        processes = 0 if kilobytes * 1000 < ALONE_BELOW else min(os.cpu_count() or 1, 4)
    with (
        Progress(f"convert {dataset}", total=kilobytes, unit="kB") as progress,
        writing_samples(samples_path(dataset), about=drawing.metadata) as writer,
    ):
        if cluster is None:
            results = _converted(intake.batches(progress), drawing, processes)
        else:
            results = converted_on(cluster, dataset, intake.batches(progress, LETTERS), drawing)
        for part, name, converted in results:
            part.count(converted)
            part.rejected.update(row[2] for row in converted.rejected)
            intake.rejected += converted.rejected
            labels = [intake.classes[label] for label in converted.columns["label"]]
            writer.add_columns(
                converted.columns
                | {
                    "label_name": [label.unicode for label in labels],
                    "romanised": [label.iso15919 for label in labels],
                    "official_part": [name] * len(labels),
                }
            )
            progress.advance(0, note=f"{writer.count} letters, {len(intake.rejected)} rejected")
        if not writer.count:
            where = ", ".join(map(str, intake.archives.values()))
            first = ": {2}: {3}".format(*intake.rejected[0]) if intake.rejected else ""
            raise PipelineError(f"{where}: no letter in it that could be read{first}")
    write_rejected(dataset, sorted(intake.rejected))  # however far ahead archives were read
    return {
        "samples": writer.count,
        "classes": len(intake.classes),
        "parts": {name: part.report() for name, part in intake.parts.items()},
    }


Batch = tuple[Part, str, list[Letter]]


def _converted(
    batches: Iterable[Batch], drawing: Drawing, processes: int
) -> Iterator[tuple[Part, str, Converted]]:
    """Convert batches in their order, here or in processes."""
    taken: deque[tuple[Part, str]] = deque()

    def letters() -> Iterator[list[Letter]]:
        for part, name, batch in batches:
            taken.append((part, name))
            yield batch

    work = partial(convert_letters, drawing)
    found = in_processes(work, letters(), processes) if processes else map(work, letters())
    for converted in found:
        yield *taken.popleft(), converted


def drawing_by(params: Convert) -> Drawing:
    """Return how pen files are drawn."""
    return Drawing(params.dpi, params.pen_width, params.y_axis)


@click.command(cls=Stage)
@click.argument("dataset")
def main(dataset: str) -> None:
    """Turn archived handwriting into samples.

    Streams the archives that `fetch` left, reads pen files or pictures by their content, draws
    pen strokes, and writes samples.parquet; what could not be read is a row in rejected.csv.

    \b
    Example:
      kalai convert tamil
    """
    params = load_params()
    settings: Convert = section(params, "convert", dataset)
    source = section(params, "fetch", dataset)
    folder = archives_folder(dataset)
    archives = {
        part: folder / f"{source.source}-{part}.tar.gz"
        for part in sorted(source.archives[source.source], reverse=True)
    }
    for path in archives.values():
        if not path.exists():
            raise PipelineError(f"{path}: no such file; run `dvc repro fetch@{dataset}` first")
    intake = Intake(archives, class_table(Path(settings.classes)), settings.per_class)
    with workers(params.compute) as cluster:
        report = convert(dataset, intake, drawing_by(settings), cluster=cluster)
    write_json(report_path(dataset, "convert"), report)
    click.echo(f"{dataset}: {report['samples']} samples, {len(intake.rejected)} rejected")
