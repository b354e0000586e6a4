"""Follow decisions.csv for open pages: the verdicts, and what changed since a version."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.dataset.decision_steps import Step, steps, undo
from pipeline.dataset.decisions import (
    Decision,
    Verdict,
    append_decisions,
    by_action,
    now,
    read_decisions,
    safe_line,
    verdicts,
)

Stamp = tuple[int, int, int]  # inode, time and size: they change if a file is replaced or written


class LogState(NamedTuple):
    """The file as it was last read.

    `version` is "<reading>-<number of lines>"; <reading> changes if a line that was read before has
    changed.
    """

    stamp: Stamp | None
    version: str
    decisions: list[Decision]
    verdicts: dict[str, Verdict]
    steps: list[Step]


class DecisionLog:
    """A decisions.csv that this page, other browser tabs and other programs append to."""

    def __init__(self, path: Path, who: str) -> None:
        self.path, self.who = path, who
        self._lock = threading.Lock()
        self._state = LogState(None, "", [], {}, [])
        self._reading = ""

    def state(self) -> LogState:
        """Return the state of the file; read it again if it has changed.

        Raises PipelineError if it is damaged.
        """
        with self._lock:
            stamp = stamp_of(self.path)
            if stamp != self._state.stamp or not self._reading:
                decisions = read_decisions(self.path)
                old = self._state.decisions
                if not self._reading or decisions[: len(old)] != old:
                    self._reading = secrets.token_hex(4)
                version = f"{self._reading}-{len(decisions)}"
                self._state = LogState(
                    stamp, version, decisions, verdicts(decisions), steps(decisions)
                )
            return self._state

    def changes_since(self, version: str | None) -> dict[str, Any]:
        """Return the verdicts on images decided since `version`, or on all if it is unknown."""
        state = self.state()
        reading, _, count = state.version.partition("-")
        first = 0
        if version and version.partition("-")[0] == reading and version.partition("-")[2].isdigit():
            first = min(int(version.partition("-")[2]), int(count))
        changed = {each.content_id for each in state.decisions[first:]}
        last = state.steps[-1] if state.steps else None
        return {
            "version": state.version,
            "is_whole": not first,
            "verdicts": {each: as_pair(state.verdicts.get(each)) for each in sorted(changed)},
            "images": len(state.verdicts),
            "by_action": by_action(state.verdicts),
            "last": last and {"summary": last.summary(), "time": last.time, "who": last.who},
        }

    def add(self, new: Iterable[tuple[str, str, str, str]]) -> None:
        """Append one step of decisions, each a (content id, action, label, reason).

        They are on the disk when this returns. Raises ValueError if one is not valid.
        """
        time = now()
        decisions = [
            Decision(time, content_id, action, label, safe_line(reason), self.who)
            for content_id, action, label, reason in new
        ]
        append_decisions(self.path, decisions)

    def undo_last(self, version: str) -> Step:
        """Undo the last step and return it.

        Raises DecisionsChanged if the file is no longer at `version`, ValueError if there is
        nothing to undo.
        """
        state = self.state()
        if not state.steps:
            raise ValueError("there is nothing to undo")
        last = state.steps[-1]
        seen = len(state.decisions) if version == state.version else -1
        append_decisions(self.path, undo([last], now(), self.who), seen=seen)
        return last

    def history_of(self, content_id: str) -> Sequence[Decision]:
        """Return every decision about an image, in order, including undone ones."""
        return [each for each in self.state().decisions if each.content_id == content_id]


def stamp_of(path: Path) -> Stamp | None:
    """Return the stamp of a file; None if there is no file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def as_pair(verdict: Verdict | None) -> list[str | None]:
    """Return [label, action]; both are null if no decision is active."""
    return [None, None] if verdict is None else [verdict.label, verdict.action]
