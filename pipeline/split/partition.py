"""Partition: put every sample into the training, validation or test set, or out with a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.errors import PipelineError
from pipeline.core.params import Split
from pipeline.dataset.columns import CONTENT_ID, LABEL, OFFICIAL_PART, SAMPLE_ID
from pipeline.dataset.contents import Ints, contents_of
from pipeline.dataset.decisions import Verdict
from pipeline.dataset.dedupe_result import DELETED, NEAR_DUPLICATE, SAME_BYTES, DedupeResult
from pipeline.dataset.split_table import (
    DUPLICATE_OF_TEST,
    GROUP_IN_TEST,
    OUT,
    PARTS,
    TEST,
    TRAIN,
    header,
)
from pipeline.dedupe.clusters import mark
from pipeline.split.assign import Labels, draw_folds, draw_parts
from pipeline.split.groups import Groups, Origin, groups_of, origins_of
from pipeline.split.leaks import Bools

COPIES = (SAME_BYTES, NEAR_DUPLICATE)  # why a sample is out if a copy of it is kept
Reasons = NDArray[np.str_]  # why each sample is out; "" if it is in


@dataclass(frozen=True)
class Partition:
    """The part of each of n samples: train, valid, test, or out with its `reason`."""

    part: list[str]
    label: list[str]  # as decided
    group: list[str]
    reason: list[str]
    fold: list[int] | None  # -1 outside train and valid
    groups: Groups  # of the samples that are in, in the order of these samples
    filled: int  # groups that were moved so that no class lacks a part
    moved: int  # samples that the newest images moved from one part to another


def partition(result: DedupeResult, params: Split, verdicts: Mapping[str, Verdict]) -> Partition:
    """Return the part of every sample; `verdicts` are people's decisions by content id.

    A sample that was split before the newest images arrived keeps its part. There are two
    exceptions: the newest images join two groups into one, or the shares must be exact.

    Raises PipelineError if a class has too few groups, or if the method is official and the
    publisher's test or training part is empty.
    """
    samples, n = result.samples, result.contents.of.size
    is_test = _official_test(samples) if params.method == "official" else np.zeros(n, bool)
    contents = contents_of(samples, is_test)  # a test image is never removed for a training image
    marks = mark(samples, contents, result.edges.near, result.policy.remove_within, verdicts)
    reason = np.array(marks.reason, dtype="U32")
    if params.method == "official":
        origins = origins_of(samples, params.group_column, params.group_pattern)
        # The publisher's test set stays whole, so that results are comparable with others'.
        reason[is_test & np.isin(reason, COPIES)] = ""
        _keep_apart(reason, is_test, result.clusters, origins)
    _check_classes(marks.label, reason)
    earlier = _earlier_parts(result, params, verdicts)
    earlier[is_test] = TEST
    rows = np.flatnonzero(reason == "")
    grouped = _grouped_samples(reason, marks.keeper, params)
    groups = _groups(result, params, grouped, marks.keeper)
    # A group stays in the part of the samples in it that arrived first.
    order = np.lexsort((contents.of[grouped], result.arrived[grouped], ~is_test[grouped]))
    stays = is_test if params.stratify == "exact" else earlier != ""
    order = order[stays[grouped[order]]][::-1]  # reversed, because the last value written remains
    earlier_of_group = np.full(len(groups.keys), "", dtype="U8")
    earlier_of_group[groups.of[order]] = earlier[grouped[order]]
    groups = groups._replace(of=groups.of[reason[grouped] == ""])
    labels = np.array(marks.label)[rows]
    assigned, filled = draw_parts(groups, labels, earlier_of_group, params)
    part = np.full(n, OUT, dtype="U8")
    part[rows] = assigned
    group = np.full(n, "", dtype=object)
    group[rows] = np.array(groups.keys, dtype=object)[groups.of]
    fold = None
    if params.folds is not None:
        folds = np.full(n, -1)
        folds[rows] = draw_folds(groups, labels, assigned != TEST, params)
        fold = folds.tolist()
    moved = int(np.count_nonzero((earlier[rows] != "") & (earlier[rows] != assigned)))
    return Partition(
        part.tolist(), marks.label, group.tolist(), reason.tolist(), fold, groups, filled, moved
    )


def _earlier_parts(result: DedupeResult, params: Split, verdicts: Mapping[str, Verdict]) -> Labels:
    """Return the part (n,) that each sample had before the newest arrived; "" if it had none.

    All are "" if all images arrived at once, or if the earlier ones could not be split.
    """
    part = np.full(result.arrived.size, "", dtype="U8")
    is_older = result.arrived < result.arrived.max(initial=0)
    if is_older.any():
        with suppress(PipelineError):
            part[is_older] = partition(result.where(is_older), params, verdicts).part
    part[part == OUT] = ""
    return part


def _grouped_samples(reason: Reasons, keeper: Ints, params: Split) -> Ints:
    """Return the rows that form groups: samples that are in, and their removed copies.

    A removed copy adds its origins to its group. It may also have been in a part before the sample
    that is kept now arrived. If the method is official, copies form no groups: the publisher's test
    set must stay apart.
    """
    is_in = reason == ""
    if params.method == "official":
        return np.flatnonzero(is_in)
    return np.flatnonzero(is_in | (np.isin(reason, COPIES) & is_in[keeper]))


def _groups(result: DedupeResult, params: Split, rows: Ints, keeper: Ints) -> Groups:
    content_ids = result.samples[CONTENT_ID].take(pa.array(rows)).to_pylist()
    if params.method == "random":
        return groups_of(result.contents.of[keeper[rows]], [], content_ids)
    origins = origins_of(result.samples, params.group_column, params.group_pattern)
    known = [origin._replace(number=origin.number[rows]) for origin in origins]
    return groups_of(result.clusters[rows], known, content_ids)


def _check_classes(label: Sequence[str], reason: Reasons) -> None:
    """Raise PipelineError if a class has no image left, unless people deleted all of them."""
    left = {name for name, why in zip(label, reason.tolist(), strict=True) if not why}
    out: dict[str, Counter[str]] = {}
    for name, why in zip(label, reason.tolist(), strict=True):
        if name not in left and why != DELETED:
            out.setdefault(name, Counter())[why] += 1
    for name, reasons in sorted(out.items()):
        counts = ", ".join(f"{count} {why}" for why, count in sorted(reasons.items()))
        raise PipelineError(
            f"split: class {name} has no images left ({counts}); add images, or change "
            "decisions with `kalai review`"
        )
    if not left:
        raise PipelineError("split: no images left; every image was left out")


def _official_test(samples: pa.Table) -> Bools:
    """Return which samples (n,) are in the publisher's test set."""
    parts = samples[OFFICIAL_PART].to_pylist()
    unknown = sorted({str(part) for part in parts} - {TRAIN, TEST})
    if unknown:
        raise PipelineError(
            f"split: method is official, but a sample has official_part {unknown[0]}; "
            "expected train or test for every sample"
        )
    is_test = np.array([part == TEST for part in parts], bool)
    if is_test.all() or not is_test.any():
        raise PipelineError(
            "split: method is official, but the publisher's train or test part has no samples"
        )
    return is_test


def _keep_apart(reason: Reasons, is_test: Bools, clusters: Ints, origins: Sequence[Origin]) -> None:
    """Exclude training samples that share a cluster or an origin with the test set."""
    test = is_test & (reason == "")
    train = ~is_test & (reason == "")
    reason[train & np.isin(clusters, clusters[test])] = DUPLICATE_OF_TEST
    for origin in origins:
        shared = origin.number[test & (origin.number >= 0)]
        reason[(reason == "") & ~is_test & np.isin(origin.number, shared)] = GROUP_IN_TEST


def check_decisions(path: Path, verdicts: Mapping[str, Verdict], result: DedupeResult) -> int:
    """Return how many decisions are about images that the data set no longer has.

    `path` is the file of decisions, for the error. Raises PipelineError if an image is relabelled
    to a class that no sample has.
    """
    known = set(result.samples[LABEL].to_pylist())
    for content_id, verdict in verdicts.items():
        if verdict.label is not None and verdict.label not in known:
            raise PipelineError(
                f"{path}: image {content_id[:12]} has the unknown label {verdict.label!r}; "
                f"classes: {', '.join(sorted(known))}"
            )
    return len(verdicts.keys() - set(result.contents.ids))


def parts_without_decisions(result: DedupeResult, params: Split) -> list[str] | None:
    """Return the part that each sample would have without decisions.

    Returns None if no such split exists, for example if a class is viable only with decisions.
    """
    try:
        return partition(result, params, {}).part
    except PipelineError:
        return None


def decisions_by_part(
    decided: Collection[str],
    result: DedupeResult,
    part: Sequence[str],
    undecided: Sequence[str] | None,
) -> dict[str, int]:
    """Count, by part, the images that people have decided about.

    Decisions about validation and test images are counted, because they change the metrics, and a
    person who has seen the losses may decide in the model's favour. Without decisions, an image may
    be in another part (`undecided`). Then the later of the two parts counts, in the order train,
    valid, test.
    """
    order = (OUT, *PARTS)
    place = dict.fromkeys(decided, -1)
    for parts in (part, undecided or part):
        for content_id, name in zip(result.samples[CONTENT_ID].to_pylist(), parts, strict=True):
            if content_id in place:
                place[content_id] = max(place[content_id], order.index(name))
    counts = Counter(place.values())
    return {name: counts[order.index(name)] for name in PARTS}


def split_rows(
    result: DedupeResult, found: Partition
) -> tuple[Sequence[str], Iterable[Sequence[object]]]:
    """Return the header and the rows of split.csv."""
    columns: list[Sequence[object]] = [
        result.samples[SAMPLE_ID].to_pylist(),
        result.samples[CONTENT_ID].to_pylist(),
        found.label,
        found.part,
        found.group,
        found.reason,
    ]
    if found.fold is None:
        return header(has_folds=False), zip(*columns, strict=True)
    columns.append([number if number >= 0 else "" for number in found.fold])
    return header(has_folds=True), zip(*columns, strict=True)
