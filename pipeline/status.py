"""What each dataset holds, told from its reports: the same numbers that git keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from pipeline.errors import PipelineError, Stage
from pipeline.files import read_json
from pipeline.params import Params, load_params
from pipeline.samples import DATA, REPORTS

Report = Mapping[str, Any]
Teller = Callable[[Report], Iterator[str]]


def percent(share: float) -> str:
    """Return a share as people read it."""
    return f"{100 * share:.1f}%"


def counts(by_reason: Mapping[str, int]) -> str:
    """Return counts, the largest first: `http-404 8, truncated 2`; `none` where there are none."""
    found = sorted(((count, what) for what, count in by_reason.items() if count), reverse=True)
    return ", ".join(f"{what} {count}" for count, what in found) or "none"


def crawled(key: str, report: Report) -> Iterator[str]:
    """Tell what a crawl got."""
    yield f"{key} {report['stored']} of {report['asked']}, refused: {counts(report['refused'])}"


def collected(report: Report) -> Iterator[str]:
    """Tell what collect, folder and convert made of what came."""
    text = f"{report['samples']} samples, rejected: {counts(report.get('rejected', {}))}"
    if report.get("skipped"):
        text += f"; skipped: {counts(report['skipped'])}"
    yield text


def fetched(report: Report) -> Iterator[str]:
    """Tell which archives are here."""
    for name, archive in report.items():
        yield f"{name} {archive['bytes'] / 1e6:.1f} MB, sha256 {archive['sha256'][:12]}"


def deduped(report: Report) -> Iterator[str]:
    """Tell what is the same as something else."""
    conflicts = report["conflicts"]
    yield (
        f"{report['kept']} kept, removed: {counts(report['removed'])}; "
        f"{conflicts['samples']} in {conflicts['clusters']} label conflicts"
    )


def parted(report: Report) -> Iterator[str]:
    """Tell the parts and what leaks between them, before and after."""
    parts = ", ".join(f"{name} {part['samples']}" for name, part in report["parts"].items())
    yield f"by {report['method']}: {parts}; out: {counts(report['out'])}"
    leak = report["leak"]
    before = leak["before"]["near_duplicate"]["mean"]
    after = ", ".join(
        f"{name} {percent(part['near_duplicate'])}" for name, part in leak["after"].items()
    )
    yield f"seen in train: {percent(before)} by a plain random split, now {after}"


def trained(report: Report) -> Iterator[str]:
    """Tell how far each stage of the training came."""
    for name, stage in report.items():
        if isinstance(stage, Mapping) and "accuracy" in stage:
            yield f"{name}: {stage['epochs']} epochs, valid accuracy {percent(stage['accuracy'])}"


def evaluated(report: Report) -> Iterator[str]:
    """Tell how good the model is, and how sure that is."""
    for name in ("valid", "test"):
        part = report.get(name, {})
        if part.get("count"):
            yield (
                f"{name}: accuracy {percent(part['accuracy'])} "
                f"[{percent(part['accuracy_low'])}, {percent(part['accuracy_high'])}], "
                f"class-averaged {percent(part['class_averaged_accuracy'])}, "
                f"top-3 {percent(part['top_3'])}, of {part['count']}"
            )


TOLD: dict[str, Teller] = {
    "collect": collected,
    "folder": collected,
    "fetch": fetched,
    "convert": collected,
    "dedupe": deduped,
    "split": parted,
    "train": trained,
    "evaluate": evaluated,
}


def told(folder: Path, dances: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (stage, line) of each report in a dataset's folder of reports.

    Raises PipelineError naming a report that is damaged or of another version.
    """
    tellers: dict[str, Teller] = {f"crawl-{key}": partial(crawled, key) for key in dances}
    for name, tell in (tellers | TOLD).items():
        path = folder / f"{name}.json"
        if path.exists():
            yield from ((name.partition("-")[0], line) for line in _lines(path, tell))


def _lines(path: Path, tell: Teller) -> list[str]:
    try:
        return list(tell(read_json(path)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PipelineError(f"{path}: not a report of this version: {error!r}") from error


def status(params: Params, data: Path = DATA) -> Iterator[str]:
    """Yield the lines of `kalai status`: a block a dataset, a line a stage that has reported."""
    for dataset in params.dedupe:
        yield dataset
        last = ""
        for stage, line in told(data / dataset / REPORTS, params.dances):
            yield f"  {stage if stage != last else '':9} {line}"
            last = stage
        if not last:
            yield "  nothing yet; run `dvc repro`"


@click.command(cls=Stage)
def main() -> None:
    """Show what each dataset holds, stage by stage.

    Crawled, kept, rejected by reason, parts and what leaks between them, last metrics: read from
    data/<dataset>/reports, which git keeps.

    \b
    Example:
      kalai status
    """
    for line in status(load_params()):
        click.echo(line)


if __name__ == "__main__":
    main()
