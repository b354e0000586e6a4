"""Stage: parts between which nothing leaks, decisions applied, and the proof of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa

from pipeline.core.errors import PipelineError, Stage
from pipeline.core.files import write_json
from pipeline.core.params import Split, load_params, section
from pipeline.dataset.arrivals import write_arrivals
from pipeline.dataset.columns import CONTENT_ID, LABEL, OFFICIAL_PART, SAMPLE_ID
from pipeline.dataset.contents import Ints, contents_of
from pipeline.dataset.decisions import Verdict, by_action, read_decisions, verdicts
from pipeline.dataset.dedupe_result import (
    DELETED,
    NEAR_DUPLICATE,
    SAME_BYTES,
    DedupeResult,
    read_dedupe_result,
)
from pipeline.dataset.paths import decisions_path, report_path
from pipeline.dataset.split_table import (
    DUPLICATE_OF_TEST,
    GROUP_IN_TEST,
    OUT,
    PARTS,
    TEST,
    TRAIN,
    VALID,
    header,
    write_split,
)
from pipeline.dedupe.clusters import mark
from pipeline.split.assign import Labels, draw_folds, draw_parts
from pipeline.split.groups import Groups, Origin, groups_of, origins_of
from pipeline.split.leaks import Audit, Bools, residual_method
from pipeline.split.plots import draw_balance

COPIES = (SAME_BYTES, NEAR_DUPLICATE)  # why a picture is out of which another is kept


@dataclass(frozen=True)
class Parts:
    """Where each of n samples went: `part` is train, valid, test or out with its `reason`."""

    part: list[str]
    label: list[str]
    group: list[str]
    reason: list[str]
    fold: list[int] | None  # -1 outside train and valid
    groups: Groups  # of the samples that are in, in their order
    filled: int  # groups that chance had put elsewhere, moved so that no class lacks a part
    moved: int  # samples that the newest moved from one part to another


def split(marked: DedupeResult, params: Split, said: Mapping[str, Verdict]) -> Parts:
    """Put every sample into a part, or out with a reason.

    What was split before the newest samples arrived stays where it was, but for one of two groups
    that they make one, and for shares that are to be exact.
    Raises PipelineError when a class has too few groups, or the publisher has no test part.
    """
    samples, n = marked.samples, marked.contents.of.size
    is_test = _official_test(samples) if params.method == "official" else np.zeros(n, bool)
    contents = contents_of(samples, is_test)  # a test picture is never removed for a train one
    marks = mark(samples, contents, marked.edges.near, marked.policy.remove_within, said)
    reason = np.array(marks.reason, dtype="U32")
    if params.method == "official":
        origins = origins_of(samples, params.group_column, params.group_pattern)
        # the publisher's test part stays whole, so that its numbers compare with others'
        reason[is_test & np.isin(reason, COPIES)] = ""
        _keep_apart(reason, is_test, marked.clusters, origins)
    _check_classes(marks.label, reason)
    was = _before_newest(marked, params, said)
    was[is_test] = TEST
    rows = np.flatnonzero(reason == "")
    known = _counted(reason, marks.keeper, params)
    groups = _groups(marked, params, known, marks.keeper)
    # a group stays where those of its samples were that arrived first
    order = np.lexsort((contents.of[known], marked.arrived[known], ~is_test[known]))
    stays = is_test if params.stratify == "exact" else was != ""
    order = order[stays[known[order]]][::-1]  # what is written last remains
    group_was = np.full(len(groups.keys), "", dtype="U8")
    group_was[groups.of[order]] = was[known[order]]
    groups = groups._replace(of=groups.of[reason[known] == ""])
    labels = np.array(marks.label)[rows]
    part, filled = draw_parts(groups, labels, group_was, params)
    where = np.full(n, OUT, dtype="U8")
    where[rows] = part
    group = np.full(n, "", dtype=object)
    group[rows] = np.array(groups.keys, dtype=object)[groups.of]
    fold = None
    if params.folds is not None:
        folds = np.full(n, -1)
        folds[rows] = draw_folds(groups, labels, part != TEST, params)
        fold = folds.tolist()
    moved = int(np.count_nonzero((was[rows] != "") & (was[rows] != part)))
    return Parts(
        where.tolist(), marks.label, group.tolist(), reason.tolist(), fold, groups, filled, moved
    )


def _before_newest(marked: DedupeResult, params: Split, said: Mapping[str, Verdict]) -> Labels:
    """Return the part (n,) that each sample had before the newest arrived, "" where none.

    Nothing where all came at once, or what there was could not be split.
    """
    was = np.full(marked.arrived.size, "", dtype="U8")
    is_older = marked.arrived < marked.arrived.max(initial=0)
    if is_older.any():
        with suppress(PipelineError):
            was[is_older] = split(marked.where(is_older), params, said).part
    was[was == OUT] = ""
    return was


def _counted(reason: np.ndarray, keeper: Ints, params: Split) -> Ints:
    """Return the samples that make groups: those that are in and their removed copies.

    A copy brings its origins with it, and may have been in before what is kept now. Not so where
    the publisher's test part must stay apart from all else.
    """
    is_in = reason == ""
    if params.method == "official":
        return np.flatnonzero(is_in)
    return np.flatnonzero(is_in | (np.isin(reason, COPIES) & is_in[keeper]))


def _groups(marked: DedupeResult, params: Split, rows: Ints, keeper: Ints) -> Groups:
    content_ids = marked.samples[CONTENT_ID].take(pa.array(rows)).to_pylist()
    if params.method == "random":
        return groups_of(marked.contents.of[keeper[rows]], [], content_ids)
    origins = origins_of(marked.samples, params.group_column, params.group_pattern)
    known = [origin._replace(number=origin.number[rows]) for origin in origins]
    return groups_of(marked.clusters[rows], known, content_ids)


def _check_classes(label: Sequence[str], reason: np.ndarray) -> None:
    """Raise PipelineError where a class has nothing left that a person did not delete."""
    left = {name for name, why in zip(label, reason.tolist(), strict=True) if not why}
    out: dict[str, Counter[str]] = {}
    for name, why in zip(label, reason.tolist(), strict=True):
        if name not in left and why != DELETED:
            out.setdefault(name, Counter())[why] += 1
    for name, reasons in sorted(out.items()):
        counts = ", ".join(f"{count} {why}" for why, count in sorted(reasons.items()))
        raise PipelineError(f"split: class {name} has no pictures left: {counts}")
    if not left:
        raise PipelineError("split: no pictures are left")


def _official_test(samples: pa.Table) -> Bools:
    parts = samples[OFFICIAL_PART].to_pylist()
    unknown = sorted({str(part) for part in parts} - {TRAIN, TEST})
    if unknown:
        raise PipelineError(f"method official: official_part is {unknown[0]}, not train or test")
    is_test = np.array([part == TEST for part in parts], bool)
    if is_test.all() or not is_test.any():
        raise PipelineError("method official: the publisher's test or train part has no samples")
    return is_test


def _keep_apart(
    reason: np.ndarray, is_test: Bools, clusters: Ints, origins: Sequence[Origin]
) -> None:
    """Put out what the publisher's train part shares with the test part."""
    test = is_test & (reason == "")
    train = ~is_test & (reason == "")
    reason[train & np.isin(clusters, clusters[test])] = DUPLICATE_OF_TEST
    for origin in origins:
        shared = origin.number[test & (origin.number >= 0)]
        reason[(reason == "") & ~is_test & np.isin(origin.number, shared)] = GROUP_IN_TEST


def leak_of(marked: DedupeResult, parts: Parts, params: Split) -> dict[str, Any]:
    """Return the leak audit: before, as the publisher had it, after, and what stays unseen."""
    part = np.array(parts.part)
    origins = origins_of(marked.samples, params.group_column, params.group_pattern)
    numbers = [origin.number for origin in origins]
    audit = Audit(marked.contents.of, marked.edges, marked.policy, numbers)
    held_out = np.count_nonzero((part == VALID) | (part == TEST))
    size = round(held_out / np.count_nonzero(part != OUT) * part.size)
    ids = marked.samples[SAMPLE_ID].to_pylist()
    leak: dict[str, Any] = {"before": audit.of_random_splits(ids, size, params.seed)}
    if params.method == "official":
        is_test = _official_test(marked.samples)
        leak["publisher"] = audit.shares(~is_test, is_test)
    leak["after"] = {
        name: audit.shares(part == TRAIN, part == name)
        for name in (VALID, TEST)
        if name in parts.part
    }
    return leak | {"residual_method": residual_method(marked.policy)}


def report_of(marked: DedupeResult, parts: Parts, params: Split) -> dict[str, Any]:
    """Return the metrics: sizes and balance of the parts, groups, reasons to be out, the leak."""
    rows = [row for row, part in enumerate(parts.part) if part != OUT]
    part = np.array(parts.part)[rows]
    classes, label = np.unique(np.array(parts.label)[rows], return_inverse=True)
    in_class = np.bincount(label, minlength=classes.size)
    sizes = np.bincount(parts.groups.of)
    out = Counter(why for why in parts.reason if why)
    origins = origins_of(marked.samples, params.group_column, params.group_pattern)
    is_known = np.any([origin.number >= 0 for origin in origins], axis=0)
    described = {}
    for name in PARTS:
        here = part == name
        of_class = np.bincount(label[here], minlength=classes.size)
        described[name] = {
            "samples": int(here.sum()),
            "share": round(float(here.mean()), 4),
            "groups": int(np.unique(parts.groups.of[here]).size),
            "classes": int((of_class > 0).sum()),
            "smallest_class": int(of_class.min()),
            # of one class's share here from the part's own share
            "largest_imbalance": round(float(np.abs(of_class / in_class - here.mean()).max()), 4),
        }
    return {
        "method": params.method,
        "parts": described,
        "out": dict(sorted(out.items())),
        "groups": {
            "count": int(sizes.size),
            "largest": int(sizes.max()),
            "joined": int(parts.groups.is_joined.sum()),
            "moved_for_a_class": parts.filled,
            "of_known_origin": round(float(is_known[rows].mean()), 4),
        },
        "moved_by_newest": parts.moved,
        "leak": leak_of(marked, parts, params),
    }


def check_decisions(path: Path, said: Mapping[str, Verdict], marked: DedupeResult) -> int:
    """Return how many decisions are about pictures that are not here (any more).

    Raises PipelineError when a picture is relabelled to a class that no sample has.
    """
    known = set(marked.samples[LABEL].to_pylist())
    for content_id, verdict in said.items():
        if verdict.label is not None and verdict.label not in known:
            raise PipelineError(
                f"{path}: {content_id[:12]} is relabelled {verdict.label!r}; "
                f"classes: {', '.join(sorted(known))}"
            )
    return len(said.keys() - set(marked.contents.ids))


def without_decisions(marked: DedupeResult, params: Split) -> list[str] | None:
    """Return the part of each sample had nobody decided; None where no such split can be made."""
    try:
        return split(marked, params, {}).part
    except PipelineError:  # a class that only decisions hold together
        return None


def touching(
    said: Collection[str],
    marked: DedupeResult,
    part: Sequence[str],
    undecided: Sequence[str] | None,
) -> dict[str, int]:
    """Count the decided pictures by part: of where it is and where it would be, the later one.

    A decision about valid or test moves the number that judges it: whoever has seen the losses
    there and chooses flatters the model, so these are counted apart.
    """
    order = (OUT, *PARTS)
    place = dict.fromkeys(said, -1)
    for where in (part, undecided or part):
        for content_id, name in zip(marked.samples[CONTENT_ID].to_pylist(), where, strict=True):
            if content_id in place:
                place[content_id] = max(place[content_id], order.index(name))
    counts = Counter(place.values())
    return {name: counts[order.index(name)] for name in PARTS}


def table_of(
    marked: DedupeResult, parts: Parts
) -> tuple[Sequence[str], Iterable[Sequence[object]]]:
    """Return the header and the rows of split.csv."""
    columns: list[Sequence[object]] = [
        marked.samples[SAMPLE_ID].to_pylist(),
        marked.samples[CONTENT_ID].to_pylist(),
        parts.label,
        parts.part,
        parts.group,
        parts.reason,
    ]
    if parts.fold is None:
        return header(has_folds=False), zip(*columns, strict=True)
    columns.append([number if number >= 0 else "" for number in parts.fold])
    return header(has_folds=True), zip(*columns, strict=True)


@click.command(cls=Stage)
@click.argument("dataset")
def main(dataset: str) -> None:
    """Split a dataset into parts between which nothing leaks.

    Applies decisions.csv, keeps groups whole, and measures the leak before and after.

    \b
    Example:
      python -m pipeline.split dances
    """
    params: Split = section(load_params(), "split", dataset)
    marked = read_dedupe_result(dataset)
    path = decisions_path(dataset)
    said = verdicts(read_decisions(path))
    unknown = check_decisions(path, said, marked)
    parts = split(marked, params, said)
    write_split(dataset, *table_of(marked, parts))
    report = report_of(marked, parts, params)
    if parts.moved:
        print(f"{dataset}: the newest pictures moved others to another part: {parts.moved}")
    undecided = None if not said else without_decisions(marked, params)
    report["decisions"] = {
        "pictures": len(said),
        "of_no_sample": unknown,
        "by_action": by_action(said),
        "touching": touching(said, marked, parts.part, undecided),
    }
    draw_balance(dataset, marked.samples, parts.label, parts.part, parts.group)
    write_json(report_path(dataset, "split"), report)
    ids, arrived = marked.contents.ids, marked.arrived[marked.contents.best]
    write_arrivals(dataset, ids, arrived)
