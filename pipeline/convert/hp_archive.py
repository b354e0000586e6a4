"""How HP Labs laid out their handwriting archives: what a member's name and labels.txt say.

Train parts hold `usr_<writer>/<class>t<trial>.*`, what known hands wrote; test parts hold
`<id>.*` and a `labels.txt` of `<id> <class>` lines, wherever in the archive it comes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.core.errors import PipelineError, Rejected
from pipeline.core.tarballs import Member, members

MAX_MEMBER_BYTES = 4_000_000  # the largest pen file met has 20,000 and the largest picture 5,000
LABELS = "labels.txt"

_TRIAL = re.compile(r"(\d{1,6})t(\d{1,4})")
_NUMBER = re.compile(r"\d{1,9}")
_WRITER = re.compile(r"usr_?(\d{1,9})", re.IGNORECASE)
_APPLE_DOUBLE = b"\0\5\x16\7"


class Letter(NamedTuple):
    """A member that is to become a sample, and what its name and labels say of it."""

    sample_id: str  # the member's path without extension
    class_id: str
    group: str | None  # the writer
    trial: int | None
    source: str  # archive and member, for people
    data: bytes


def walk(path: Path) -> Iterator[Member]:
    """Walk an archive's members; see `archives.members`."""
    return members(path, max_member_bytes=MAX_MEMBER_BYTES)


def letter_of(member: Member, archive: Path, labels: Labels) -> Letter | str:
    """Return a member as a letter, or the reason for which it is passed over.

    Raises Rejected: what the walk found against it, or "unlabelled".
    """
    folder, _, file = member.name.rpartition("/")
    if file.startswith("._") or member.data.startswith(_APPLE_DOUBLE):
        return "apple-double"
    if member.rejected is not None:
        raise member.rejected
    stem = file.rpartition(".")[0] or file
    trial = _TRIAL.fullmatch(stem)
    if trial is None and not _NUMBER.fullmatch(stem):
        return "labels" if file == LABELS else "other"
    sample_id = f"{folder}/{stem}" if folder else stem
    writer = _WRITER.fullmatch(folder.rpartition("/")[2])
    return Letter(
        sample_id,
        trial[1] if trial else labels.of(sample_id),
        writer[1] if writer else None,
        int(trial[2]) if trial else None,
        f"{archive.name}:{member.name}",
        member.data,
    )


class Labels:
    """The classes of numbered members by sample id, read from the archive when first asked for."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._classes: dict[str, str] | None = None

    def of(self, sample_id: str) -> str:
        """Return a member's class. Raises Rejected "unlabelled"."""
        if self._classes is None:
            self._classes = self._read()
        if sample_id not in self._classes:
            raise Rejected("unlabelled", f"{LABELS} does not name it")
        return self._classes[sample_id]

    def _read(self) -> dict[str, str]:
        for member in walk(self._archive):
            folder, slash, file = member.name.rpartition("/")
            if file == LABELS:
                lines = member.data.decode("utf-8", "replace").splitlines()
                return self._parse(lines, folder + slash)
        return {}

    def _parse(self, lines: Iterable[str], folder: str) -> dict[str, str]:
        classes: dict[str, str] = {}
        for number, line in enumerate(lines, 1):
            fields = line.split()
            where = f"{self._archive}: {folder}{LABELS}: line {number}"
            if len(fields) not in (0, 2):
                raise PipelineError(f"{where}: expected an id and a class, found {line[:60]!r}")
            if fields and classes.setdefault(folder + fields[0], fields[1]) != fields[1]:
                raise PipelineError(f"{where}: {fields[0]} has two classes")
        return classes


def choose(letters: Iterable[tuple[str, str, str | None]], per_class: int) -> set[str]:
    """Choose at most `per_class` of each class among (sample_id, class_id, group).

    Every writer gives one before any gives a second. Which, and who comes first, is decided by
    the hash of the sample's id, never by order.
    """
    by_writer: dict[tuple[str, str | None], list[tuple[bytes, str]]] = {}
    for sample_id, class_id, group in letters:
        rank = hashlib.sha256(sample_id.encode()).digest()
        by_writer.setdefault((class_id, group), []).append((rank, sample_id))
    by_class: dict[str, list[tuple[int, bytes, str]]] = {}
    for (class_id, _), ranked in by_writer.items():
        turns = ((turn, *entry) for turn, entry in enumerate(sorted(ranked)))
        by_class.setdefault(class_id, []).extend(turns)
    return {entry[2] for turns in by_class.values() for entry in sorted(turns)[:per_class]}
