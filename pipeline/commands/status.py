"""`kalai status`: what each dataset holds, according to the reports that git tracks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from pipeline.core.errors import Stage
from pipeline.core.params import PARAMS, load_params
from pipeline.dataset.paths import CRAWL_REPORT, known_datasets, reports_folder
from pipeline.dataset.reports import read_report, reading
from pipeline.report.wording import counts

Report = Mapping[str, Any]
Facts = Iterator[tuple[str, str]]  # (name, fact)


def crawled(reports: Mapping[str, Report]) -> Facts:
    """Yield what the crawls of all dances stored and refused."""
    refused: Counter[str] = Counter()
    for report in reports.values():
        refused.update(report["refused"])
    asked, stored = (sum(report[key] for report in reports.values()) for key in ("asked", "stored"))
    dances = ", ".join(f"{key} {report['stored']}" for key, report in reports.items())
    yield "crawled", f"{stored} images of {asked} wanted ({dances})"
    repeated = sum(report["duplicates"] for report in reports.values())
    yield "repeated", f"{repeated} downloads with the bytes of a stored image"
    yield "refused", f"{refused.total()} downloads: {counts(refused)}"


def collected(report: Report) -> Facts:
    """Yield the number of samples and of rejected files."""
    yield "samples", f"{report['samples']}; rejected: {counts(report['rejected'])}"


def fetched(report: Report) -> Facts:
    """Yield each verified archive."""
    for name, archive in report.items():
        size = f"{archive['bytes'] / 1e6:.1f} MB"
        yield "fetched", f"{name}, {size}, sha256 {archive['sha256'][:12]}"


def converted(report: Report) -> Facts:
    """Yield the samples of each official split."""
    for name, part in report["parts"].items():
        writers = f" by {part['writers']} writers" if part["writers"] else ""
        yield (
            f"{name} part",
            f"{part['samples']} samples of {part['classes']} classes{writers}; "
            f"rejected: {counts(part['rejected'])}; skipped: {counts(part['skipped'])}",
        )


def deduped(report: Report) -> Facts:
    """Yield the number of duplicates and label conflicts."""
    removed, conflicts = report["removed"], report["conflicts"]
    yield (
        "duplicates",
        f"{removed['same-bytes']} identical, {removed['near-duplicate']} near-duplicates, "
        f"{conflicts['samples']} samples in {conflicts['clusters']} label conflicts; "
        f"{report['kept']} of {report['samples']} samples kept",
    )


def divided(report: Report) -> Facts:
    """Yield the size of each part, and the leaks between parts, compared with random splits."""
    parts = ", ".join(f"{name} {part['samples']}" for name, part in report["parts"].items())
    yield "split", f"{parts} (method: {report['method']}); left out: {counts(report['out'])}"
    before, after = report["leak"]["before"], report["leak"]["after"]
    for key, match in (("near_duplicate", "near-duplicate"), ("same_group", "group")):
        if key in before:  # near-duplicates are absent if dedupe did not search for them
            held_out = ", ".join(f"{part[key]:.1%} of {name}" for name, part in after.items())
            random = f"{before[key]['mean']:.1%} (sd {before[key]['sd']:.1%})"
            yield "leaks", f"{match} in train: {held_out}; in random splits {random}"


def trained(report: Report) -> Facts:
    """Yield the accuracy on the validation set after each stage of training."""
    for name in ("stage_1", "stage_2"):
        if name in report:
            stage = report[name]
            yield (
                name.replace("_", " "),
                f"valid: accuracy {stage['accuracy']:.1%}, balanced accuracy "
                f"{stage['balanced_accuracy']:.1%} "
                f"(layers: {stage['layers']}; {stage['epochs']} epochs)",
            )


def evaluated(report: Report) -> Facts:
    """Yield the accuracy on the validation and test set, with its confidence interval."""
    for name in ("valid", "test"):
        part = report.get(name, {})
        if part.get("count"):
            interval = f"{part['accuracy_low']:.1%} to {part['accuracy_high']:.1%}"
            yield (
                name,
                f"accuracy {part['accuracy']:.1%} on {part['count']} samples (95% CI {interval}), "
                f"balanced accuracy {part['balanced_accuracy']:.1%}, "
                f"top-3 accuracy {part['top_3']:.1%}; chance {1 / report['classes']:.1%}",
            )


STAGES: dict[str, Callable[[Report], Facts]] = {
    "collect": collected,
    "folder": collected,
    "fetch": fetched,
    "convert": converted,
    "dedupe": deduped,
    "split": divided,
    "train": trained,
    "evaluate": evaluated,
}


def facts_of(folder: Path, dances: Collection[str]) -> Facts:
    """Yield the facts from a dataset's reports folder, in the order of the stages.

    The report of a crawl stays when its dance is removed from params.yaml, so a report is ignored
    unless its dance is in `dances`. Raises PipelineError with the path of a report that is damaged.
    """
    crawls: dict[str, Report] = {}
    for path in sorted(folder.glob(f"{CRAWL_REPORT}*.json")):
        dance = path.stem.removeprefix(CRAWL_REPORT)
        report = read_report(path)
        if dance in dances and report is not None:
            with reading(path):  # a missing key means that this report is damaged
                list(crawled({dance: report}))
            crawls[dance] = report
    if crawls:
        yield from crawled(crawls)
    for stage, facts in STAGES.items():
        path = folder / f"{stage}.json"
        report = read_report(path)
        if report is not None:
            with reading(path):
                yield from facts(report)
    if any(folder.glob("*/*.png")):
        yield "plots", f"{folder}/*/*.png"


def status(root: Path = Path()) -> Iterator[str]:
    """Yield the lines of `kalai status`: one block for each dataset of the project at `root`."""
    dances = load_params(root / PARAMS).dances
    for dataset in known_datasets(root):
        yield dataset
        facts = list(facts_of(reports_folder(dataset, root), dances))
        for name, fact in facts or [("no reports", "run `dvc repro`")]:
            yield f"  {name:10} {fact}"


@click.command(cls=Stage)
def main() -> None:
    """Show what each dataset holds, stage by stage.

    Prints images crawled, kept and rejected, the parts of the split and their leaks, and the last
    metrics. They are read from data/<dataset>/reports, which git tracks.

    \b
    Example:
      kalai status
    """
    for line in status():
        click.echo(line)
