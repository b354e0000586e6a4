"""Stage `split`: parts that do not leak, with decisions applied, and the measured leak."""

from __future__ import annotations

from collections import Counter
from typing import Any

import click
import numpy as np

from pipeline.core.errors import Stage
from pipeline.core.files import write_json
from pipeline.core.params import Split, load_params, section
from pipeline.dataset.arrivals import write_arrivals
from pipeline.dataset.columns import OFFICIAL_PART, SAMPLE_ID
from pipeline.dataset.decisions import by_action, read_decisions, verdicts
from pipeline.dataset.dedupe_result import DedupeResult, read_dedupe_result
from pipeline.dataset.paths import decisions_path, report_path
from pipeline.dataset.split_table import OUT, PARTS, TEST, TRAIN, VALID, write_split
from pipeline.split.groups import origins_of
from pipeline.split.leaks import Audit, residual_method
from pipeline.split.partition import (
    Partition,
    check_decisions,
    decisions_by_part,
    partition,
    parts_without_decisions,
    split_rows,
)
from pipeline.split.plots import draw_balance


def leak_report(result: DedupeResult, found: Partition, params: Split) -> dict[str, Any]:
    """Return the leaks of random splits, of the publisher's split, and of this one."""
    part = np.array(found.part)
    origins = origins_of(result.samples, params.group_column, params.group_pattern)
    numbers = [origin.number for origin in origins]
    audit = Audit(result.contents.of, result.edges, result.policy, numbers)
    held_out = np.count_nonzero((part == VALID) | (part == TEST))
    size = round(held_out / np.count_nonzero(part != OUT) * part.size)
    ids = result.samples[SAMPLE_ID].to_pylist()
    leak: dict[str, Any] = {"before": audit.of_random_splits(ids, size, params.seed)}
    if params.method == "official":
        is_test = np.array(result.samples[OFFICIAL_PART].to_pylist()) == TEST
        leak["publisher"] = audit.shares(~is_test, is_test)
    leak["after"] = {
        name: audit.shares(part == TRAIN, part == name)
        for name in (VALID, TEST)
        if name in found.part
    }
    return leak | {"residual_method": residual_method(result.policy)}


def report_of(result: DedupeResult, found: Partition, params: Split) -> dict[str, Any]:
    """Return the metrics: sizes and balance of the parts, groups, reasons for exclusion, leaks."""
    rows = [row for row, part in enumerate(found.part) if part != OUT]
    part = np.array(found.part)[rows]
    classes, label = np.unique(np.array(found.label)[rows], return_inverse=True)
    in_class = np.bincount(label, minlength=classes.size)
    sizes = np.bincount(found.groups.of)
    out = Counter(why for why in found.reason if why)
    origins = origins_of(result.samples, params.group_column, params.group_pattern)
    is_known = np.any([origin.number >= 0 for origin in origins], axis=0)
    described = {}
    for name in PARTS:
        here = part == name
        of_class = np.bincount(label[here], minlength=classes.size)
        described[name] = {
            "samples": int(here.sum()),
            "share": round(float(here.mean()), 4),
            "groups": int(np.unique(found.groups.of[here]).size),
            "classes": int((of_class > 0).sum()),
            "smallest_class": int(of_class.min()),
            # largest gap between a class's share in this part and the part's own share
            "largest_imbalance": round(float(np.abs(of_class / in_class - here.mean()).max()), 4),
        }
    return {
        "method": params.method,
        "parts": described,
        "out": dict(sorted(out.items())),
        "groups": {
            "count": int(sizes.size),
            "largest": int(sizes.max()),
            "joined": int(found.groups.is_joined.sum()),
            "moved_for_a_class": found.filled,
            "of_known_origin": round(float(is_known[rows].mean()), 4),
        },
        "moved_by_newest": found.moved,
        "leak": leak_report(result, found, params),
    }


@click.command(cls=Stage)
@click.argument("dataset")
def main(dataset: str) -> None:
    """Split a dataset into training, validation and test sets that do not leak.

    Applies decisions.csv, keeps groups whole, and measures the leaks: of this split and, for
    comparison, of random splits.

    \b
    Example:
      python -m pipeline.split dances
    """
    params: Split = section(load_params(), "split", dataset)
    result = read_dedupe_result(dataset)
    path = decisions_path(dataset)
    decided = verdicts(read_decisions(path))
    unknown = check_decisions(path, decided, result)
    found = partition(result, params, decided)
    write_split(dataset, *split_rows(result, found))
    report = report_of(result, found, params)
    if found.moved:
        print(f"{dataset}: new images moved {found.moved} earlier images to another part")
    undecided = parts_without_decisions(result, params) if decided else None
    report["decisions"] = {
        "pictures": len(decided),
        "of_no_sample": unknown,
        "by_action": by_action(decided),
        "touching": decisions_by_part(decided, result, found.part, undecided),
    }
    draw_balance(dataset, result.samples, found.label, found.part, found.group)
    write_json(report_path(dataset, "split"), report)
    ids, arrived = result.contents.ids, result.arrived[result.contents.best]
    write_arrivals(dataset, ids, arrived)
