"""Read the letters of a dataset's archives and account for every member."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.convert.archive import Layout, Letter, Skipped, read_member, walk
from pipeline.convert.classes import LetterClass
from pipeline.convert.letters import Converted
from pipeline.core.errors import Rejected
from pipeline.core.progress import Progress
from pipeline.core.tarballs import Member
from pipeline.dataset.columns import GROUP, LABEL
from pipeline.dataset.rejected import RejectedRow

BATCH = 256  # letters that are drawn together and sent to a process together
BATCH_BYTES = 8_000_000  # limit of a batch when members are large


@dataclass(slots=True)
class PartCounts:
    """How many members of one part's archive became samples, and how many did not, by reason."""

    samples: int = 0
    classes: Counter[str] = field(default_factory=Counter)
    writers: set[str] = field(default_factory=set)
    left_out: int = 0  # by per_class
    skipped: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)

    def add(self, converted: Converted) -> None:
        """Count the samples and rejections of a batch."""
        labels = converted.columns[LABEL]
        self.samples += len(labels)
        self.classes.update(labels)
        self.writers.update(group for group in converted.columns[GROUP] if group)
        self.rejected.update(row.reason for row in converted.rejected)

    def report(self) -> dict[str, Any]:
        """Return the counts for the stage's report."""
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


Batch = tuple[PartCounts, str, list[Letter]]  # counts and name of the official part, its letters


@dataclass(slots=True)
class ArchiveReader:
    """Reads the archives of a dataset.

    `archives` maps the name of each official part to its archive.
    """

    archives: Mapping[str, Path]
    classes: Mapping[str, LetterClass]
    layout: Callable[[Path], Layout]
    per_class: int | None = None
    parts: dict[str, PartCounts] = field(default_factory=dict)
    rejected: list[RejectedRow] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    def batches(self, progress: Progress, size: int = BATCH) -> Iterator[Batch]:
        """Yield the letters of each part in batches of `size`; `progress` counts kilobytes read."""
        for name, path in self.archives.items():
            part = self.parts[name] = PartCounts()
            batch: list[Letter] = []
            batch_bytes = shown = 0
            for letter, read_bytes in self._letters(part, path):
                batch.append(letter)
                batch_bytes += len(letter.data)
                if len(batch) == size or batch_bytes > BATCH_BYTES:
                    yield part, name, batch
                    batch, batch_bytes = [], 0
                    progress.advance(read_bytes // 1000 - shown)
                    shown = read_bytes // 1000
            if batch:
                yield part, name, batch
            progress.advance(path.stat().st_size // 1000 - shown)

    def _letters(self, part: PartCounts, path: Path) -> Iterator[tuple[Letter, int]]:
        layout = self.layout(path)
        chosen = self._choose(path, layout) if self.per_class else None
        for member in walk(path):
            try:
                letter = read_member(layout, member)
                if isinstance(letter, Skipped):
                    part.skipped[letter.reason] += 1
                    continue
                self._check(letter)
            except Rejected as rejection:
                self._reject(part, member, path, rejection)
                continue
            if chosen is None or letter.sample_id in chosen:
                yield letter, member.read_bytes
            else:
                part.left_out += 1

    def _check(self, letter: Letter) -> None:
        if letter.class_id not in self.classes:
            raise Rejected("unlabelled", f"no class {letter.class_id!r} in the class table")
        if letter.sample_id in self._seen:
            raise Rejected("duplicate-member", "a member of this name came before")
        self._seen.add(letter.sample_id)

    def _reject(self, part: PartCounts, member: Member, path: Path, rejection: Rejected) -> None:
        part.rejected[rejection.reason] += 1
        source = f"{path.name}:{member.name}"
        row = RejectedRow(member.name, "", rejection.reason, rejection.detail, source)
        self.rejected.append(row)

    def _choose(self, path: Path, layout: Layout) -> set[str]:
        """Choose letters in a first pass: the choice depends on all letters of a class."""
        found: dict[str, tuple[str, str, str | None]] = {}
        for member in walk(path):
            try:
                letter = read_member(layout, member)
            except Rejected:
                continue
            if isinstance(letter, Letter) and letter.class_id in self.classes:
                found[letter.sample_id] = (letter.sample_id, letter.class_id, letter.group)
        return choose(found.values(), self.per_class or 0)


def choose(letters: Iterable[tuple[str, str, str | None]], per_class: int) -> set[str]:
    """Return the ids of at most `per_class` letters of each class.

    `letters` are (sample_id, class_id, writer). Every writer gives one letter before any writer
    gives a second. The hash of the sample id decides ties, so the order of letters has no effect.
    """
    by_writer: dict[tuple[str, str | None], list[tuple[bytes, str]]] = {}
    for sample_id, class_id, writer in letters:
        rank = hashlib.sha256(sample_id.encode()).digest()
        by_writer.setdefault((class_id, writer), []).append((rank, sample_id))
    by_class: dict[str, list[tuple[int, bytes, str]]] = {}
    for (class_id, _), ranked in by_writer.items():
        rounds = ((number, *entry) for number, entry in enumerate(sorted(ranked)))
        by_class.setdefault(class_id, []).extend(rounds)
    return {entry[2] for rounds in by_class.values() for entry in sorted(rounds)[:per_class]}
