"""Steps: what somebody decided at once, on one picture or on many, and how it is taken back."""

from __future__ import annotations

import getpass
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, groupby

from pipeline.decisions import Decision

MAX_REASON = 500  # characters; a reason is a line
FORMULA = ("=", "+", "-", "@")  # what a spreadsheet would calculate


@dataclass(frozen=True)
class Step:
    """The decisions of one click or one import that still stand; `time` and `who` name it."""

    time: str
    who: str
    decisions: tuple[Decision, ...]

    def told(self) -> str:
        """Return what was decided, as people read it: `delete 3, relabel 1`."""
        counts = Counter(decision.action for decision in self.decisions)
        return ", ".join(f"{action} {count}" for action, count in counts.items())


def standing(decisions: Sequence[Decision]) -> list[Decision]:
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
    alike = groupby(standing(decisions), key=lambda decision: (decision.time, decision.who))
    return [Step(time, who, tuple(together)) for (time, who), together in alike]


def undo(steps_back: Sequence[Step], time: str, by: str) -> list[Decision]:
    """Return the decisions that take the last steps back, the very last first."""
    return [
        Decision(time, decision.content_id, "undo", who=by)
        for step in reversed(steps_back)
        for decision in reversed(step.decisions)
    ]


def plain(reason: str) -> str:
    """Return a reason as one line of text that no spreadsheet takes for a formula.

    Raises ValueError where it is too long.
    """
    text = " ".join(reason.split())
    if len(text) > MAX_REASON:
        raise ValueError(f"reason of {len(text)} characters, at most {MAX_REASON}")
    return f"'{text}" if text.startswith(FORMULA) else text


def who() -> str:
    """Return who decides here: git's name and address, else the user's name."""
    name, address = (_git_config(f"user.{key}") for key in ("name", "email"))
    if not name and not address:
        name = getpass.getuser()
    return plain(f"{name} <{address}>".strip() if address else name)


def _git_config(key: str) -> str:
    try:
        said = subprocess.run(["git", "config", key], capture_output=True, check=False)
    except OSError:  # no git
        return ""
    return said.stdout.decode("utf-8", "replace").strip()
