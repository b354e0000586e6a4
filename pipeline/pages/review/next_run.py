"""What the next `dvc repro` does to a dataset, computed from its decisions.

Splitting is fast, so this module makes the new split just as the split stage would, and compares it
with split.csv.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.core.errors import PipelineError
from pipeline.core.params import Split
from pipeline.dataset.decisions import Verdict
from pipeline.dataset.dedupe_result import DedupeResult
from pipeline.dataset.paths import decisions_path, split_path
from pipeline.dataset.split_table import OUT, SplitRow, read_split
from pipeline.pages.review.dvc_lock import stale_stages
from pipeline.pages.review.index import PART_NAMES
from pipeline.split.partition import (
    check_decisions,
    decisions_by_part,
    partition,
    parts_without_decisions,
    split_rows,
)

STAGES = ("split", "train", "evaluate")


@dataclass
class NextRun:
    """The stages that will run, and how the split changes.

    `problem` is the error that `split` will stop with; `touching` counts, for each part, the
    images that have a decision.
    """

    stages: list[str]
    summary: str
    changes: list[str] = field(default_factory=list)
    problem: str | None = None
    touching: dict[str, int] = field(default_factory=dict)


def next_run(
    dataset: str, dedupe_result: DedupeResult, params: Split, decided: Mapping[str, Verdict]
) -> NextRun:
    """Return what the next `dvc repro` will do to a dataset with these verdicts."""
    try:
        check_decisions(decisions_path(dataset), decided, dedupe_result)
        parts = partition(dedupe_result, params, decided)
    except PipelineError as error:
        return NextRun(["split"], "split, which will fail", problem=error.message)
    undecided = parts_without_decisions(dedupe_result, params) if decided else None
    by_part = decisions_by_part(decided, dedupe_result, parts.part, undecided)
    if not split_path(dataset).exists():
        return NextRun(list(STAGES), f"{', '.join(STAGES)} (first run)", touching=by_part)
    _, rows = split_rows(dedupe_result, parts)
    after = [SplitRow(*map(str, row)) for row in rows]
    before = read_split(dataset)
    stale = stale_stages(dataset, STAGES)
    is_new_split = "split" in stale and after != before
    stages = [stage for stage in STAGES if stage in stale or (is_new_split and stage != "split")]
    if "train" in stages and "evaluate" not in stages:
        stages.append("evaluate")
    changes = changes_between(before, after) if is_new_split else []
    return NextRun(stages, summary_of(stages, is_new_split=is_new_split), changes, None, by_part)


def summary_of(stages: Sequence[str], *, is_new_split: bool) -> str:
    """Return which stages will run, in words."""
    if not stages:
        return "nothing to run, the split applies every decision"
    if stages == ["split"] and not is_new_split:
        return "split with the same result, so no training"
    return ", ".join(stages)


def changes_between(before: Sequence[SplitRow], after: Sequence[SplitRow]) -> list[str]:
    """Return how two splits differ: images that leave, join, change class or change part."""
    old = {row.sample_id: row for row in before}
    leave, join = Counter[str](), Counter[str]()
    relabelled = moved = 0
    for row in after:
        was = old.get(row.sample_id, row._replace(part=OUT))
        if row.part == OUT != was.part:
            leave[was.part] += 1
        elif was.part == OUT != row.part:
            join[row.part] += 1
        elif row.part != OUT:
            relabelled += row.label != was.label
            moved += row.part != was.part
    return [
        *(f"{clause(n, 'leave')} the {PART_NAMES[part]}" for part, n in sorted(leave.items())),
        *(f"{clause(n, 'join')} the {PART_NAMES[part]}" for part, n in sorted(join.items())),
        *([f"{clause(relabelled, 'change')} class"] if relabelled else []),
        *([f"{clause(moved, 'move')} to another set"] if moved else []),
    ]


def clause(count: int, verb: str) -> str:
    """Return "1 image leaves" or "2 images leave"."""
    return f"1 image {verb}s" if count == 1 else f"{count:,} images {verb}"
