"""The decisions of a dataset as an open page follows them: what stands, and what is new since."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.dataset.decisions import (
    Decision,
    Step,
    Verdict,
    append_decisions,
    by_action,
    now,
    read_decisions,
    safe_line,
    steps,
    undo,
    verdicts,
)

Stamp = tuple[int, int, int]  # inode, time and size: what a file that was replaced has anew


class Known(NamedTuple):
    """The file as it was last read. `version` names the state: of which reading, how many lines."""

    stamp: Stamp | None
    version: str
    decisions: list[Decision]
    verdicts: dict[str, Verdict]
    steps: list[Step]


class Decided:
    """A decisions.csv that this page, other tabs and other programs add to."""

    def __init__(self, path: Path, who: str) -> None:
        self.path, self.who = path, who
        self._lock = threading.Lock()
        self._known = Known(None, "", [], {}, [])
        self._reading = ""

    def known(self) -> Known:
        """Return the file's state, read anew where it has changed.

        Raises PipelineError where it is damaged.
        """
        with self._lock:
            stamp = stamp_of(self.path)
            if stamp != self._known.stamp or not self._reading:
                decisions = read_decisions(self.path)
                old = self._known.decisions
                if not self._reading or decisions[: len(old)] != old:  # not grown: another file
                    self._reading = secrets.token_hex(4)
                version = f"{self._reading}-{len(decisions)}"
                self._known = Known(
                    stamp, version, decisions, verdicts(decisions), steps(decisions)
                )
            return self._known

    def since(self, version: str | None) -> dict[str, Any]:
        """Return what stands about the pictures decided about since a version; None: about all."""
        known = self.known()
        reading, _, seen = known.version.partition("-")
        first = 0
        if version and version.partition("-")[0] == reading and version.partition("-")[2].isdigit():
            first = min(int(version.partition("-")[2]), int(seen))
        touched = {each.content_id for each in known.decisions[first:]}
        last = known.steps[-1] if known.steps else None
        return {
            "version": known.version,
            "is_whole": not first,
            "verdicts": {content: told(known.verdicts.get(content)) for content in sorted(touched)},
            "pictures": len(known.verdicts),
            "by_action": by_action(known.verdicts),
            "last": last and {"says": last.summary(), "time": last.time, "who": last.who},
        }

    def add(self, said: Iterable[tuple[str, str, str, str]]) -> None:
        """Write one step of decisions: (content id, action, label, reason) each.

        They are on the disk when this returns. Raises ValueError where one makes no sense.
        """
        time = now()
        new = [
            Decision(time, content, action, label, safe_line(reason), self.who)
            for content, action, label, reason in said
        ]
        append_decisions(self.path, new)

    def take_back(self, version: str) -> Step:
        """Undo the last step and return it.

        Raises DecisionsChanged if the file is not as it was at `version`,
        ValueError if there is none.
        """
        known = self.known()
        if not known.steps:
            raise ValueError("nothing stands that could be taken back")
        last = known.steps[-1]
        seen = len(known.decisions) if version == known.version else -1
        append_decisions(self.path, undo([last], now(), self.who), seen=seen)
        return last

    def about(self, content_id: str) -> Sequence[Decision]:
        """Return all that was ever decided about a picture, in order."""
        return [each for each in self.known().decisions if each.content_id == content_id]


def stamp_of(path: Path) -> Stamp | None:
    """Return what changes when a file is replaced or written; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def told(verdict: Verdict | None) -> list[str | None]:
    """Return [label, action] as JSON holds it; nothing stands where both are null."""
    return [None, None] if verdict is None else [verdict.label, verdict.action]
