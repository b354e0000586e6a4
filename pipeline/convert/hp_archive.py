"""The archive layout of HP Labs India.

Archives of training letters hold `usr_<writer>/<class>t<trial>.*`. Archives of test letters hold
`<id>.*` without a writer, and a `labels.txt` with lines of `<id> <class>`. That file may come
after the letters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pipeline.convert.archive import Letter, Skipped, walk
from pipeline.core.errors import PipelineError, Rejected
from pipeline.core.tarballs import Member

LABELS = "labels.txt"

_TRIAL = re.compile(r"(\d{1,6})t(\d{1,4})")
_NUMBER = re.compile(r"\d{1,9}")
_WRITER = re.compile(r"usr_?(\d{1,9})", re.IGNORECASE)


class HpLayout:
    """Reads the names and labels of one archive in HP's layout."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._classes: dict[str, str] | None = None

    def letter(self, member: Member) -> Letter | Skipped:
        """Return a member as a letter, or why it is skipped: "labels" or "other".

        Raises Rejected "unlabelled" if labels.txt does not name the member.
        """
        folder, _, file = member.name.rpartition("/")
        stem = file.rpartition(".")[0] or file
        trial = _TRIAL.fullmatch(stem)
        if trial is None and not _NUMBER.fullmatch(stem):
            return Skipped("labels" if file == LABELS else "other")
        sample_id = f"{folder}/{stem}" if folder else stem
        writer = _WRITER.fullmatch(folder.rpartition("/")[2])
        return Letter(
            sample_id,
            trial[1] if trial else self.class_of(sample_id),
            writer[1] if writer else None,
            int(trial[2]) if trial else None,
            f"{self._archive.name}:{member.name}",
            member.data,
        )

    def class_of(self, sample_id: str) -> str:
        """Return the class that labels.txt gives a letter; the first call reads the file.

        Raises Rejected "unlabelled" if labels.txt lacks the letter, and PipelineError if a line of
        labels.txt is wrong.
        """
        if self._classes is None:
            self._classes = self._read_labels()
        if sample_id not in self._classes:
            raise Rejected("unlabelled", f"{LABELS} does not name it")
        return self._classes[sample_id]

    def _read_labels(self) -> dict[str, str]:
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
                raise PipelineError(
                    f"{where}: expected a sample id and a class, found {line[:60]!r}"
                )
            if fields and classes.setdefault(folder + fields[0], fields[1]) != fields[1]:
                raise PipelineError(f"{where}: {fields[0]} has two different classes")
        return classes
