"""Steps: decisions that were made together are undone together."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from pipeline.dataset.decision_steps import Step, active_decisions, steps, undo
from pipeline.dataset.decisions import Decision, verdicts

TIME = "2024-05-01T13:00:00+00:00"
IN_A_STEP = st.tuples(st.sampled_from(["keep", "delete", "keeper"]), st.integers(0, 3))


def made(groups: Sequence[Sequence[tuple[str, int]]]) -> list[Decision]:
    """Return decisions in steps that are one second apart."""
    return [
        Decision(f"2024-05-01T12:00:{second:02}+00:00", f"{number:064x}", action)
        for second, group in enumerate(groups)
        for action, number in group
    ]


@given(st.lists(st.lists(IN_A_STEP, min_size=1, max_size=4), max_size=6), st.data())
def test_an_undo_of_steps_restores_the_state_before_them(
    groups: list[list[tuple[str, int]]], data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, len(groups)))
    decisions = made(groups)
    done = steps(decisions)
    assert len(done) == len(groups)
    assert active_decisions(decisions) == decisions
    left = len(groups) - count
    after = [*decisions, *undo(done[left:], TIME, "")]
    assert active_decisions(after) == made(groups[:left])
    assert verdicts(after) == verdicts(made(groups[:left]))


def test_a_step_has_a_summary_by_action() -> None:
    (step,) = steps(made([[("delete", 1), ("keep", 2), ("delete", 3)]]))
    assert isinstance(step, Step)
    assert step.summary() == "delete 2, keep 1"
