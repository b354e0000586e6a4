"""decisions.csv: decisions of people about images, one line each, in a file that git tracks.

The file only grows: a line never changes, and `undo` takes back an image's last active decision.
A line names an image by its content id. So it applies to every copy of the image, and to the same
image in a later crawl.
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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from pipeline.core.errors import PipelineError
from pipeline.core.files import replacing

ACTIONS = (
    "keep",  # keep the image, whatever dedupe decides
    "delete",  # leave the image out
    "relabel",  # give the image another label; also cancels an earlier delete
    "not-duplicate",  # the image is no duplicate of any other
    "keeper",  # of the image and its duplicates, keep this one
    "undo",  # take back the image's last active decision
)
MAX_REASON = 500  # characters
FORMULA = ("=", "+", "-", "@")  # a spreadsheet evaluates a cell that begins with one of these


@dataclass(frozen=True, slots=True)
class Decision:
    """One line of decisions.csv; its fields are the columns.

    `time` is ISO 8601 with a time zone. `label` is the new label, for relabel only.
    """

    time: str
    content_id: str
    action: str  # one of ACTIONS
    label: str = ""
    reason: str = ""
    who: str = ""

    def __post_init__(self) -> None:
        """Raise ValueError if a column has a wrong value; the error names the column."""
        try:
            zone = datetime.fromisoformat(self.time).tzinfo
        except ValueError:
            raise ValueError(f"time {self.time!r} is not ISO 8601") from None
        if zone is None:
            raise ValueError(f"time {self.time!r} has no time zone, such as +00:00")
        if not re.fullmatch("[0-9a-f]{64}", self.content_id):
            raise ValueError(f"content_id {self.content_id!r} is not 64 hexadecimal digits")
        if self.action not in ACTIONS:
            raise ValueError(f"unknown action {self.action!r}; allowed: {', '.join(ACTIONS)}")
        if self.action == "relabel" and not self.label:
            raise ValueError("action relabel needs a label")
        if self.action != "relabel" and self.label:
            raise ValueError(f"action {self.action} takes no label, found {self.label!r}")


HEADER = [column.name for column in fields(Decision)]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of all decisions about one image."""

    label: str | None = None  # the new label; None: the label that the image came with
    action: str | None = None  # the last active action except relabel; None: dedupe decides

    @property
    def actions(self) -> tuple[str, ...]:
        """The actions that apply; an image may be both relabelled and a keeper."""
        relabel = () if self.label is None else ("relabel",)
        return relabel if self.action is None else (*relabel, self.action)


class DecisionsChanged(Exception):  # noqa: N818  (not a failure: another process was faster)
    """Another process has added decisions since the file was read."""


def now() -> str:
    """Return the current time for a decision, to the millisecond, so that two clicks differ."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def current_user() -> str:
    """Return the user's name and address from git's config, or else the login name."""
    name, address = (_git_config(f"user.{key}") for key in ("name", "email"))
    if not name and not address:
        name = getpass.getuser()
    return safe_line(f"{name} <{address}>".strip() if address else name)


def _git_config(key: str) -> str:
    try:
        result = subprocess.run(["git", "config", key], capture_output=True, check=False)
    except OSError:  # git is not installed
        return ""
    return result.stdout.decode("utf-8", "replace").strip()


def safe_line(reason: str) -> str:
    """Return a reason as a single line, changed if a spreadsheet would take it for a formula.

    Raises ValueError if it is longer than MAX_REASON characters.
    """
    text = " ".join(reason.split())
    if len(text) > MAX_REASON:
        raise ValueError(f"reason has {len(text)} characters; at most {MAX_REASON} are allowed")
    return f"'{text}" if text.startswith(FORMULA) else text


def read_decisions(path: Path) -> list[Decision]:
    """Return the decisions of a file in order; an empty list if there is no file.

    Raises PipelineError with the line number if the file is damaged.
    """
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig")  # a spreadsheet may have saved it with a byte order mark
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise PipelineError(f"{path}:{line}: line is not UTF-8; save the file as UTF-8") from error
    if not text.endswith("\n"):
        line = text.count("\n") + 1
        raise PipelineError(f"{path}:{line}: the last line is truncated; complete or remove it")
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    decisions: list[Decision] = []
    active: _Active = {}
    line = 1
    try:
        for row in rows:
            if line == 1 and row != HEADER:
                raise ValueError(f"expected the header {','.join(HEADER)}")
            if line > 1:
                if len(row) != len(HEADER):
                    raise ValueError(f"found {len(row)} columns; expected {len(HEADER)}")
                decisions.append(Decision(*row))
                _apply(active, len(decisions) - 1, decisions[-1])
            line = rows.line_num + 1
    except (ValueError, csv.Error) as error:
        raise PipelineError(f"{path}:{line}: {error}") from error
    return decisions


def append_decisions(path: Path, new: Sequence[Decision], seen: int | None = None) -> None:
    """Append all decisions to a file, or none; other processes may append at the same time.

    They are on the disk when this returns. Raises PipelineError if the file is damaged, ValueError
    if an undo has no decision to take back, and DecisionsChanged if the number of decisions in the
    file is not `seen`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent) as folder:
        old = read_decisions(path)
        if seen is not None and len(old) != seen:
            raise DecisionsChanged
        active_by_image([*old, *new])  # raises if an undo has no decision to take back
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
            os.fsync(file.fileno())  # a power failure must not cost hours of a person's work
        os.fsync(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Wait for other writers, lock a folder against them, and yield its descriptor."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


_Active = dict[str, list[int]]  # by content id, the indices of the active decisions, in order


def active_by_image(decisions: Iterable[Decision]) -> dict[str, list[int]]:
    """Return, by content id, the indices of the decisions that no undo has taken back.

    Raises ValueError if an undo has no decision to take back.
    """
    active: _Active = {}
    for index, decision in enumerate(decisions):
        _apply(active, index, decision)
    return active


def _apply(active: _Active, index: int, decision: Decision) -> None:
    mine = active.setdefault(decision.content_id, [])
    if decision.action != "undo":
        mine.append(index)
    elif mine:
        mine.pop()
    else:
        content = decision.content_id[:12]
        raise ValueError(f"undo: image {content} has no active decision to take back")


def verdicts(decisions: Sequence[Decision]) -> dict[str, Verdict]:
    """Return the verdict of each image that has an active decision, by content id."""
    found = {}
    for content_id, indices in active_by_image(decisions).items():
        verdict = Verdict()
        for index in indices:
            decision = decisions[index]
            if decision.action != "relabel":
                verdict = Verdict(verdict.label, decision.action)
            else:
                action = None if verdict.action == "delete" else verdict.action
                verdict = Verdict(decision.label, action)
        if verdict != Verdict():
            found[content_id] = verdict
    return found


def by_action(found: Mapping[str, Verdict]) -> dict[str, int]:
    """Return the number of images for each action."""
    counts = Counter(action for verdict in found.values() for action in verdict.actions)
    return dict(sorted(counts.items()))
