"""What each dataset holds, told from its reports: the same numbers that git keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from pipeline.core.errors import PipelineError, Stage
from pipeline.core.files import read_json
from pipeline.core.params import PARAMS, load_params
from pipeline.dataset.paths import CRAWL_REPORT, known_datasets, reports_folder

Report = Mapping[str, Any]
Facts = Iterator[tuple[str, str]]  # (what it is about, the fact)


def share(value: float) -> str:
    """Return a share as people read it."""
    return f"{100 * value:.1f}%"


def counts(by_reason: Mapping[str, int]) -> str:
    """Return counts, the largest first: `http-404 8, truncated 2`."""
    found = [(name, count) for name, count in Counter(by_reason).most_common() if count]
    return ", ".join(f"{name} {count}" for name, count in found) or "none"


def crawled(reports: Mapping[str, Report]) -> Facts:
    """Tell what the crawls got, and what was refused in all of them."""
    refused: Counter[str] = Counter()
    for report in reports.values():
        refused.update(report["refused"])
    asked, stored = (sum(report[key] for report in reports.values()) for key in ("asked", "stored"))
    dances = ", ".join(f"{key} {report['stored']}" for key, report in reports.items())
    yield "crawled", f"{stored} of {asked} ({dances})"
    repeated = sum(report["duplicates"] for report in reports.values())
    yield "repeated", f"{repeated} more, of the same bytes"
    yield "refused", f"{refused.total()}: {counts(refused)}"


def collected(report: Report) -> Facts:
    """Tell what became of the files that came."""
    yield "samples", f"{report['samples']}, rejected: {counts(report['rejected'])}"


def fetched(report: Report) -> Facts:
    """Tell which archives are here."""
    for name, archive in report.items():
        size = f"{archive['bytes'] / 1e6:.1f} MB"
        yield "fetched", f"{name}, {size}, sha256 {archive['sha256'][:12]}"


def converted(report: Report) -> Facts:
    """Tell what the archives held."""
    for name, part in report["parts"].items():
        facts = f"{part['samples']} of {part['classes']} classes"
        if part["writers"]:
            facts += f" by {part['writers']} writers"
        yield (
            f"{name} part",
            f"{facts}, rejected: {counts(part['rejected'])}, skipped: {counts(part['skipped'])}",
        )


def deduped(report: Report) -> Facts:
    """Tell what is the same as something else."""
    removed, conflicts = report["removed"], report["conflicts"]
    yield (
        "duplicates",
        f"{removed['same-bytes']} of the same bytes, {removed['near-duplicate']} near, "
        f"{conflicts['samples']} in {conflicts['clusters']} label conflicts; "
        f"{report['kept']} of {report['samples']} kept",
    )


def parted(report: Report) -> Facts:
    """Tell the parts, and what leaks between them before and after."""
    parts = ", ".join(f"{name} {part['samples']}" for name, part in report["parts"].items())
    yield "parts", f"{parts} ({report['method']}); out: {counts(report['out'])}"
    before, after = report["leak"]["before"], report["leak"]["after"]
    for name, words in (("near_duplicate", "a near duplicate"), ("same_group", "its own group")):
        if name in before:  # not where near duplicates are not looked for
            held_out = ", ".join(f"{share(part[name])} of {key}" for key, part in after.items())
            random = f"{share(before[name]['mean'])} (sd {share(before[name]['sd'])})"
            yield "leak", f"{words} in train: {random} in random splits, now {held_out}"


def trained(report: Report) -> Facts:
    """Tell how far each stage of the training came."""
    for name in ("stage_1", "stage_2"):
        if name in report:
            stage = report[name]
            yield (
                name.replace("_", " "),
                f"{share(stage['accuracy'])} of valid, class-averaged "
                f"{share(stage['class_averaged_accuracy'])} "
                f"({stage['layers']} layers, {stage['epochs']} epochs)",
            )


def evaluated(report: Report) -> Facts:
    """Tell how good the model is, and how sure that is."""
    for name in ("valid", "test"):
        part = report.get(name, {})
        if part.get("count"):
            interval = f"{share(part['accuracy_low'])} to {share(part['accuracy_high'])}"
            yield (
                name,
                f"{share(part['accuracy'])} of {part['count']} (95%: {interval}), class-averaged "
                f"{share(part['class_averaged_accuracy'])}, top 3 {share(part['top_3'])}; "
                f"chance {share(1 / report['classes'])}",
            )


TOLD: dict[str, Callable[[Report], Facts]] = {
    "collect": collected,
    "folder": collected,
    "fetch": fetched,
    "convert": converted,
    "dedupe": deduped,
    "split": parted,
    "train": trained,
    "evaluate": evaluated,
}


def told(folder: Path, dances: Collection[str]) -> Facts:
    """Yield what a dataset's folder of reports tells, in the order of the stages.

    A crawl's report stays when its dance has left the params; only those of `dances` are told.
    Raises PipelineError naming the report that is damaged or of another version.
    """
    path = folder
    try:
        crawls = {}
        for path in sorted(folder.glob(f"{CRAWL_REPORT}*.json")):
            dance = path.stem.removeprefix(CRAWL_REPORT)
            if dance in dances:
                crawls[dance] = read_json(path)
        if crawls:
            yield from crawled(crawls)
        for stage, tell in TOLD.items():
            path = folder / f"{stage}.json"
            if path.exists():
                yield from tell(read_json(path))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PipelineError(f"{path}: not a report of this version: {error!r}") from error
    if any(folder.glob("*/*.png")):
        yield "plots", f"{folder}/*/*.png"


def status(root: Path = Path()) -> Iterator[str]:
    """Yield the lines of `kalai status`: a block a dataset of the project at `root`."""
    dances = load_params(root / PARAMS).dances
    for dataset in known_datasets(root):
        yield dataset
        facts = list(told(reports_folder(dataset, root), dances)) or [
            ("nothing", "yet; run `dvc repro`")
        ]
        for name, fact in facts:
            yield f"  {name:10} {fact}"


@click.command(cls=Stage)
def main() -> None:
    """Show what each dataset holds, stage by stage.

    Crawled, kept, rejected by reason, parts and what leaks between them, last metrics: read from
    data/<dataset>/reports, which git keeps.

    \b
    Example:
      kalai status
    """
    for line in status():
        click.echo(line)
