"""What came out of a run, for people: counts, leaks and accuracies of each dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.files import read_json

Report = Mapping[str, Any]


def summary(data: Path) -> list[str]:
    """Return the lines for all datasets below `data` that have been evaluated."""
    lines = []
    for path in sorted(data.glob("*/reports/evaluate.json")):
        lines += ["", path.parent.parent.name, *of_dataset(path.parent)]
    return lines[1:]


def of_dataset(reports: Path) -> list[str]:
    """Return what a dataset's reports tell, a fact a line."""
    read = {path.stem: read_json(path) for path in sorted(reports.glob("*.json"))}
    crawls = [report for name, report in read.items() if name.startswith("crawl-")]
    facts = [("crawled", _crawled(crawls))] if crawls else []
    if "convert" in read:
        facts += _converted(read["convert"])
    removed, conflicts = read["dedupe"]["removed"], read["dedupe"]["conflicts"]
    facts += [
        (
            "samples",
            f"{read['dedupe']['samples']}: {read['dedupe']['kept']} kept, "
            f"{removed['same-bytes']} same bytes, {removed['near-duplicate']} near duplicates, "
            f"{conflicts['samples']} in {conflicts['clusters']} label conflicts",
        ),
        *_split(read["split"]),
        *_trained(read["train"]),
        *_evaluated(read["evaluate"]),
        ("plots", f"{Path(*reports.parts[-3:])}/{{train,evaluate}}/*.png"),
    ]
    return [f"  {name:10} {fact}" for name, fact in facts]


def _crawled(reports: list[Report]) -> str:
    refused: Counter[str] = Counter()
    for report in reports:
        refused.update(report["refused"])
    stored, duplicates = (
        sum(report[key] for report in reports) for key in ("stored", "duplicates")
    )
    why = f": {_counts(refused)}" if refused else ""
    return f"{stored}, {duplicates} more of the same bytes, {refused.total()} refused{why}"


def _converted(report: Report) -> Iterator[tuple[str, str]]:
    for name, part in report["parts"].items():
        facts = f"{part['samples']} of {part['classes']} classes"
        if part["writers"]:
            facts += f" by {part['writers']} writers"
        for what in ("rejected", "skipped"):
            if part[what]:
                facts += f", {what} {_counts(part[what])}"
        yield f"{name} part", facts


def _split(report: Report) -> Iterator[tuple[str, str]]:
    parts = ", ".join(f"{name} {part['samples']}" for name, part in report["parts"].items())
    yield "parts", f"{parts} ({report['method']})"
    before, after = report["leak"]["before"], report["leak"]["after"]
    for name, words in (("near_duplicate", "a near duplicate"), ("same_group", "its own group")):
        if name in before:  # not where near duplicates are not looked for
            held_out = ", ".join(f"{_share(part[name])} of {key}" for key, part in after.items())
            random = f"{_share(before[name]['mean'])} (sd {_share(before[name]['sd'])})"
            yield "leak", f"{words} in train: {random} in random splits, now {held_out}"


def _trained(report: Report) -> Iterator[tuple[str, str]]:
    for name in ("stage_1", "stage_2"):
        if name in report:
            stage = report[name]
            yield (
                name.replace("_", " "),
                f"{_share(stage['accuracy'])} of valid, class-averaged "
                f"{_share(stage['class_averaged_accuracy'])} "
                f"({stage['layers']} layers, {stage['epochs']} epochs)",
            )


def _evaluated(report: Report) -> Iterator[tuple[str, str]]:
    name = "test" if report.get("test", {}).get("count") else "valid"
    part = report[name]
    interval = f"{_share(part['accuracy_low'])} to {_share(part['accuracy_high'])}"
    yield (
        name,
        f"{_share(part['accuracy'])} of {part['count']} (95%: {interval}), class-averaged "
        f"{_share(part['class_averaged_accuracy'])}, top 3 {_share(part['top_3'])}; "
        f"chance {_share(1 / report['classes'])}",
    )


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in Counter(counts).most_common())


def _share(value: float) -> str:
    return f"{100 * value:.1f}%"
