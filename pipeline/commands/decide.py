"""`kalai decide`: decisions in bulk, listed and taken back, without the review page."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from pipeline.core.errors import PipelineError, Stage
from pipeline.dataset.decisions import (
    Decision,
    DecisionsChanged,
    active_decisions,
    append_decisions,
    current_user,
    now,
    read_decisions,
    safe_line,
    steps,
    undo,
)
from pipeline.dataset.paths import decisions_path
from pipeline.dataset.samples import read_samples

IDS = ("content_id", "sample_id")
COLUMNS = (*IDS, "action", "label", "reason")


def read_import(path: Path, contents: Mapping[str, str], labels: set[str]) -> list[Decision]:
    """Return the decisions of a CSV, made now and by this user.

    `contents` gives the content id of each sample, `labels` the classes that there are. Raises
    PipelineError with the line's number at the first line that is wrong.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")  # a spreadsheet may have saved it
    except UnicodeDecodeError as error:
        raise PipelineError(f"{path}: not UTF-8") from error
    time, by, known = now(), current_user(), set(contents.values())
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    found = []
    line = 1
    try:
        for row in rows:
            if not header:
                header = _header(row)
            elif row:
                said = _values(header, row)
                content_id = said.get("content_id") or _content_of(said["sample_id"], contents)
                label = said.get("label", "")
                reason = safe_line(said.get("reason", ""))
                found.append(Decision(time, content_id, said["action"], label, reason, by))
                if content_id not in known:
                    raise ValueError(f"content_id {content_id} is of no sample")
                if label and label not in labels:
                    raise ValueError(f"label {label!r} is not one of {', '.join(sorted(labels))}")
            line = rows.line_num + 1
        if not header:
            raise ValueError("empty")
    except (ValueError, csv.Error) as error:
        raise PipelineError(f"{path}:{line}: {error}") from error
    return found


def _header(row: Sequence[str]) -> list[str]:
    names = [name.strip() for name in row]
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        raise ValueError(f"no column {unknown[0]!r}; columns: {', '.join(COLUMNS)}")
    if "action" not in names or not set(IDS) & set(names) or len(set(names)) < len(names):
        raise ValueError(f"expected action and one of {' or '.join(IDS)}, each once")
    return names


def _values(header: Sequence[str], row: Sequence[str]) -> dict[str, str]:
    if len(row) != len(header):
        raise ValueError(f"{len(row)} columns, expected {len(header)}")
    said = dict(zip(header, (value.strip() for value in row), strict=True))
    if not said.get("content_id") and not said.get("sample_id"):
        raise ValueError("neither content_id nor sample_id")
    return said


def _content_of(sample_id: str, contents: Mapping[str, str]) -> str:
    if sample_id not in contents:
        raise ValueError(f"sample_id {sample_id!r} is no sample")
    return contents[sample_id]


def import_file(dataset: str, path: Path, source: Path) -> None:
    """Add the decisions of a CSV to a dataset's: all of them or, where one is wrong, none."""
    samples = read_samples(dataset, ["sample_id", "content_id", "label"])
    ids = zip(samples["sample_id"].to_pylist(), samples["content_id"].to_pylist(), strict=True)
    new = read_import(source, dict(ids), set(samples["label"].to_pylist()))
    try:
        append_decisions(path, new)
    except ValueError as error:
        raise PipelineError(f"{source}: {error}") from error
    click.echo(f"{path}: {len(new)} decisions added; take them back with --undo")


def take_back(path: Path, count: int) -> None:
    """Undo the last steps. Raises PipelineError where there are not so many."""
    decisions = read_decisions(path)
    done = steps(decisions)
    if len(done) < count:
        raise PipelineError(f"{path}: {len(done)} steps stand, not {count}")
    last = done[-count:]
    try:
        append_decisions(path, undo(last, now(), current_user()), seen=len(decisions))
    except DecisionsChanged as error:
        raise PipelineError(f"{path}: somebody has just decided; look again") from error
    for step in reversed(last):
        click.echo(f"taken back: {step.summary()} ({step.time}, {step.who or 'nobody named'})")


def tell(dataset: str, path: Path) -> None:
    """Print the decisions that stand, the oldest first, and how many steps they came in."""
    decisions = read_decisions(path)
    for decision in active_decisions(decisions):
        what = f"{decision.action} {decision.label}".strip()
        why = f"  {decision.reason}" if decision.reason else ""
        click.echo(f"{decision.time}  {decision.content_id[:16]}  {what:20}{why}  {decision.who}")
    done = steps(decisions)
    count = sum(len(step.decisions) for step in done)
    click.echo(f"{dataset}: {count} decisions stand, made in {len(done)} steps")


@click.command(cls=Stage)
@click.argument("dataset")
@click.option(
    "--import",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"A CSV with {' or '.join(IDS)}, action, label (of relabel) and reason.",
)
@click.option("--list", "is_told", is_flag=True, help="Print the decisions that stand.")
@click.option(
    "--undo",
    "count",
    is_flag=False,
    flag_value=1,
    type=click.IntRange(min=1),
    metavar="[N]",
    help="Take back the last N steps, 1 unless told; a step is what was decided at once.",
)
def main(dataset: str, source: Path | None, is_told: bool, count: int | None) -> None:
    """Decide about pictures in bulk, list the decisions, take them back.

    Appends to data/DATASET/decisions.csv, as `kalai review` does. Actions: keep, delete, relabel,
    not-duplicate, keeper, undo. An import is taken whole or not at all.

    \b
    Examples:
      kalai decide dances --import decided.csv
      kalai decide dances --list
      kalai decide dances --undo       the last click or import
      kalai decide dances --undo 3
    """
    if sum((source is not None, is_told, count is not None)) != 1:
        raise click.UsageError("say one of --import FILE, --list and --undo")
    path = decisions_path(dataset)
    if not path.parent.is_dir():
        raise PipelineError(f"{path.parent}: no such folder; run from the project's root")
    if source is not None:
        import_file(dataset, path, source)
    elif count is not None:
        take_back(path, count)
    else:
        tell(dataset, path)
