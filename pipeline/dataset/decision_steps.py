"""Steps: the decisions that one click or one import made together, and how to undo them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, groupby

from pipeline.dataset.decisions import Decision, active_by_image


@dataclass(frozen=True)
class Step:
    """The active decisions of one click or one import, which share `time` and `who`."""

    time: str
    who: str
    decisions: tuple[Decision, ...]

    def summary(self) -> str:
        """Return the number of decisions by action, as in `delete 3, relabel 1`."""
        counts = Counter(decision.action for decision in self.decisions)
        return ", ".join(f"{action} {count}" for action, count in counts.items())


def active_decisions(decisions: Sequence[Decision]) -> list[Decision]:
    """Return the decisions that no undo has taken back, in order."""
    indices = sorted(chain.from_iterable(active_by_image(decisions).values()))
    return [decisions[index] for index in indices]


def steps(decisions: Sequence[Decision]) -> list[Step]:
    """Return the active decisions as steps, in order."""
    groups = groupby(
        active_decisions(decisions), key=lambda decision: (decision.time, decision.who)
    )
    return [Step(time, who, tuple(group)) for (time, who), group in groups]


def undo(last: Sequence[Step], time: str, by: str) -> list[Decision]:
    """Return the decisions that undo `last`: the most recent steps, oldest first."""
    return [
        Decision(time, decision.content_id, "undo", who=by)
        for step in reversed(last)
        for decision in reversed(step.decisions)
    ]
