"""What people decided about pictures: a CSV in git that only grows.

`time,content_id,action,label,reason,who`, a decision a line. A line is never changed: `undo`
takes back the picture's last decision that still stands. Keyed by content id, so a decision
holds for every copy of a picture and after any new crawl.
"""

from __future__ import annotations

import csv
import fcntl
import getpass
import io
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from itertools import chain, groupby
from pathlib import Path

from pipeline.core.errors import PipelineError
from pipeline.core.files import replacing

ACTIONS = (
    "keep",  # in, whatever the machine says
    "delete",  # out
    "relabel",  # of another class; brings a deleted picture back
    "not-duplicate",  # a duplicate of nothing
    "keeper",  # the one to keep of its duplicates
    "undo",  # takes back the last decision
)


@dataclass(frozen=True, slots=True)
class Decision:
    """One line: `time` is ISO 8601 with its zone, `label` is set for relabel alone."""

    time: str
    content_id: str
    action: str
    label: str = ""
    reason: str = ""
    who: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError naming the column that is wrong."""
        try:
            zone = datetime.fromisoformat(self.time).tzinfo
        except ValueError:
            raise ValueError(f"time {self.time!r} is not ISO 8601") from None
        if zone is None:
            raise ValueError(f"time {self.time!r} has no zone, such as +00:00")
        if not re.fullmatch("[0-9a-f]{64}", self.content_id):
            raise ValueError(f"content_id {self.content_id!r} is not 64 hexadecimal digits")
        if self.action not in ACTIONS:
            raise ValueError(f"action {self.action!r} is not one of {', '.join(ACTIONS)}")
        if (self.action == "relabel") != bool(self.label):
            found = "no label" if self.action == "relabel" else f"label {self.label!r}"
            raise ValueError(f"{self.action} with {found}; relabel alone has one")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What stands about one picture: its label (None: as it came) and its last other action."""

    label: str | None = None
    action: str | None = None  # keep, delete, not-duplicate or keeper; None: the machine's word

    @property
    def actions(self) -> tuple[str, ...]:
        """What stands, by name: a picture may be relabelled and a keeper, too."""
        relabel = () if self.label is None else ("relabel",)
        return relabel if self.action is None else (*relabel, self.action)


HEADER = [column.name for column in fields(Decision)]


def now() -> str:
    """Return this moment as a decision writes it: fine enough to tell two clicks apart."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def read_decisions(path: Path) -> list[Decision]:
    """Return the decisions of a file in order; none where there is no file.

    Raises PipelineError with the line's number when the file is damaged.
    """
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig")  # a spreadsheet may have saved it
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise PipelineError(f"{path}:{line}: not UTF-8") from error
    if not text.endswith("\n"):
        raise PipelineError(f"{path}:{text.count(chr(10)) + 1}: the last line is cut off")
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    decisions: list[Decision] = []
    standing: _Standing = {}
    line = 1
    try:
        for row in rows:
            if line == 1 and row != HEADER:
                raise ValueError(f"expected the header {','.join(HEADER)}")
            if line > 1:
                if len(row) != len(HEADER):
                    raise ValueError(f"{len(row)} columns, expected {len(HEADER)}")
                decisions.append(Decision(*row))
                _stack(standing, decisions[-1])
            line = rows.line_num + 1
    except (ValueError, csv.Error) as error:
        raise PipelineError(f"{path}:{line}: {error}") from error
    return decisions


class DecisionsChanged(Exception):  # noqa: N818  (no failure: somebody else was quicker)
    """Others have decided since the file was read."""


def append_decisions(path: Path, new: Sequence[Decision], seen: int | None = None) -> None:
    """Add decisions to the end of a file: all or none, whoever else is adding at the time.

    They are on the disk when this returns. Raises PipelineError when the file is damaged,
    ValueError when an undo has nothing to undo, DecisionsChanged when it does not hold `seen` decisions.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone_in(path.parent) as folder:
        old = read_decisions(path)
        if seen is not None and len(old) != seen:
            raise DecisionsChanged
        standing: _Standing = {}
        for decision in [*old, *new]:
            _stack(standing, decision)
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        if path.exists():
            text.write(path.read_bytes().decode("utf-8"))
        else:
            writer.writerow(HEADER)
        writer.writerows(astuple(decision) for decision in new)
        with replacing(path) as temporary, temporary.open("wb") as file:
            file.write(text.getvalue().encode())
            file.flush()
            os.fsync(file.fileno())  # hours of a person's work, should the power fail
        os.fsync(folder)


def verdicts(decisions: Sequence[Decision]) -> dict[str, Verdict]:
    """Return what stands about each picture, by content id."""
    standing: _Standing = {}
    for decision in decisions:
        _stack(standing, decision)
    found = {}
    for content_id, stack in standing.items():
        verdict = Verdict()
        for decision in stack:
            if decision.action != "relabel":
                verdict = Verdict(verdict.label, decision.action)
            else:
                action = None if verdict.action == "delete" else verdict.action
                verdict = Verdict(decision.label, action)
        if verdict != Verdict():
            found[content_id] = verdict
    return found


def by_action(said: Mapping[str, Verdict]) -> dict[str, int]:
    """Return how many pictures each action stands about."""
    counts = Counter(action for verdict in said.values() for action in verdict.actions)
    return dict(sorted(counts.items()))


_Standing = dict[str, list[Decision]]  # by content id, the decisions not taken back


def _stack(standing: _Standing, decision: Decision) -> None:
    stack = standing.setdefault(decision.content_id, [])
    if decision.action != "undo":
        stack.append(decision)
    elif stack:
        stack.pop()
    else:
        raise ValueError(f"undo, but nothing stands about {decision.content_id[:12]}")


@contextmanager
def _alone_in(folder: Path) -> Iterator[int]:
    """Wait until nobody else adds to a file in `folder`; give its descriptor."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


MAX_REASON = 500  # characters; a reason is a line
FORMULA = ("=", "+", "-", "@")  # what a spreadsheet would calculate


@dataclass(frozen=True)
class Step:
    """The decisions of one click or one import that still stand; `time` and `who` name it."""

    time: str
    who: str
    decisions: tuple[Decision, ...]

    def summary(self) -> str:
        """Return what was decided, as people read it: `delete 3, relabel 1`."""
        counts = Counter(decision.action for decision in self.decisions)
        return ", ".join(f"{action} {count}" for action, count in counts.items())


def active_decisions(decisions: Sequence[Decision]) -> list[Decision]:
    """Return the decisions that nobody has taken back, in order."""
    places: dict[str, list[int]] = {}
    for place, decision in enumerate(decisions):
        mine = places.setdefault(decision.content_id, [])
        if decision.action == "undo":
            mine.pop()
        else:
            mine.append(place)
    return [decisions[place] for place in sorted(chain.from_iterable(places.values()))]


def steps(decisions: Sequence[Decision]) -> list[Step]:
    """Return the steps that stand, in order."""
    alike = groupby(active_decisions(decisions), key=lambda decision: (decision.time, decision.who))
    return [Step(time, who, tuple(together)) for (time, who), together in alike]


def undo(steps_back: Sequence[Step], time: str, by: str) -> list[Decision]:
    """Return the decisions that take the last steps back, the very last first."""
    return [
        Decision(time, decision.content_id, "undo", who=by)
        for step in reversed(steps_back)
        for decision in reversed(step.decisions)
    ]


def safe_line(reason: str) -> str:
    """Return a reason as one line of text that no spreadsheet takes for a formula.

    Raises ValueError where it is too long.
    """
    text = " ".join(reason.split())
    if len(text) > MAX_REASON:
        raise ValueError(f"reason of {len(text)} characters, at most {MAX_REASON}")
    return f"'{text}" if text.startswith(FORMULA) else text


def current_user() -> str:
    """Return who decides here: git's name and address, else the user's name."""
    name, address = (_git_config(f"user.{key}") for key in ("name", "email"))
    if not name and not address:
        name = getpass.getuser()
    return safe_line(f"{name} <{address}>".strip() if address else name)


def _git_config(key: str) -> str:
    try:
        said = subprocess.run(["git", "config", key], capture_output=True, check=False)
    except OSError:  # no git
        return ""
    return said.stdout.decode("utf-8", "replace").strip()
