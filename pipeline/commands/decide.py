"""`kalai decide`: import, list and undo decisions without the review page."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from pipeline.core.errors import PipelineError, Stage
from pipeline.dataset.columns import CONTENT_ID, LABEL, REASON, SAMPLE_ID
from pipeline.dataset.decision_steps import active_decisions, steps, undo
from pipeline.dataset.decisions import (
    Decision,
    DecisionsChanged,
    append_decisions,
    current_user,
    now,
    read_decisions,
    safe_line,
)
from pipeline.dataset.paths import check_dataset, decisions_path
from pipeline.dataset.samples import read_samples

IDS = (CONTENT_ID, SAMPLE_ID)
ACTION = "action"
COLUMNS = (*IDS, ACTION, LABEL, REASON)  # of an imported CSV


def read_import(path: Path, contents: Mapping[str, str], labels: set[str]) -> list[Decision]:
    """Return the decisions of a CSV, with the current time and user.

    `contents` maps sample ids to content ids; `labels` are the dataset's classes. Raises
    PipelineError with the number of the first invalid line.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")  # spreadsheets write a byte-order mark
    except UnicodeDecodeError as error:
        raise PipelineError(f"{path}: not UTF-8; save it as CSV in UTF-8") from error
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
                values = _values(header, row)
                content_id = values.get(CONTENT_ID) or _content_of(values[SAMPLE_ID], contents)
                label = values.get(LABEL, "")
                reason = safe_line(values.get(REASON, ""))
                found.append(Decision(time, content_id, values[ACTION], label, reason, by))
                if content_id not in known:
                    raise ValueError(f"no sample has content_id {content_id}")
                if label and label not in labels:
                    raise ValueError(f"unknown label {label!r}; known: {', '.join(sorted(labels))}")
            line = rows.line_num + 1
        if not header:
            raise ValueError("the file is empty")
    except (ValueError, csv.Error) as error:
        raise PipelineError(f"{path}:{line}: {error}") from error
    return found


def _header(row: Sequence[str]) -> list[str]:
    names = [name.strip() for name in row]
    unknown = [name for name in names if name not in COLUMNS]
    if unknown:
        raise ValueError(f"unknown column {unknown[0]!r}; allowed: {', '.join(COLUMNS)}")
    if ACTION not in names or not set(IDS) & set(names) or len(set(names)) < len(names):
        raise ValueError(f"expected a column {ACTION} and {' or '.join(IDS)}, none repeated")
    return names


def _values(header: Sequence[str], row: Sequence[str]) -> dict[str, str]:
    if len(row) != len(header):
        raise ValueError(f"expected {len(header)} columns, found {len(row)}")
    values = dict(zip(header, (value.strip() for value in row), strict=True))
    if not values.get(CONTENT_ID) and not values.get(SAMPLE_ID):
        raise ValueError(f"both {' and '.join(IDS)} are empty")
    return values


def _content_of(sample_id: str, contents: Mapping[str, str]) -> str:
    if sample_id not in contents:
        raise ValueError(f"unknown sample_id {sample_id!r}")
    return contents[sample_id]


def import_file(dataset: str, path: Path, source: Path) -> None:
    """Append the decisions of a CSV to a dataset's decisions: all, or none if a line is invalid."""
    samples = read_samples(dataset, [SAMPLE_ID, CONTENT_ID, LABEL])
    ids = zip(samples[SAMPLE_ID].to_pylist(), samples[CONTENT_ID].to_pylist(), strict=True)
    new = read_import(source, dict(ids), set(samples[LABEL].to_pylist()))
    try:
        append_decisions(path, new)
    except ValueError as error:
        raise PipelineError(f"{source}: {error}") from error
    click.echo(f"{path}: added {len(new)} decisions; --undo removes them again")


def undo_steps(path: Path, count: int) -> None:
    """Undo the last `count` steps. Raises PipelineError if there are fewer."""
    decisions = read_decisions(path)
    done = steps(decisions)
    if len(done) < count:
        raise PipelineError(f"{path}: cannot undo {count} steps; it has {len(done)}")
    last = done[-count:]
    try:
        append_decisions(path, undo(last, now(), current_user()), seen=len(decisions))
    except DecisionsChanged as error:
        raise PipelineError(f"{path}: changed while undoing; see --list and try again") from error
    for step in reversed(last):
        click.echo(f"undone: {step.summary()} ({step.time}, {step.who or 'user unknown'})")


def print_decisions(dataset: str, path: Path) -> None:
    """Print the decisions in force, the oldest first, and the number of steps."""
    decisions = read_decisions(path)
    for decision in active_decisions(decisions):
        what = f"{decision.action} {decision.label}".strip()
        why = f"  {decision.reason}" if decision.reason else ""
        click.echo(f"{decision.time}  {decision.content_id[:16]}  {what:20}{why}  {decision.who}")
    done = steps(decisions)
    count = sum(len(step.decisions) for step in done)
    click.echo(f"{dataset}: {count} decisions in force, made in {len(done)} steps")


@click.command(cls=Stage)
@click.argument("dataset")
@click.option(
    "--import",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"Add the decisions of a CSV: {' or '.join(IDS)}, action, label (to relabel), reason.",
)
@click.option("--list", "is_listed", is_flag=True, help="Print the decisions in force.")
@click.option(
    "--undo",
    "count",
    is_flag=False,
    flag_value=1,
    type=click.IntRange(min=1),
    metavar="[N]",
    help="Undo the last N steps (default 1). A step is one import or one click.",
)
def main(dataset: str, source: Path | None, is_listed: bool, count: int | None) -> None:
    """Import decisions about images in bulk, list them, or undo them.

    Appends to data/DATASET/decisions.csv, as `kalai review` does. Actions: keep, delete, relabel,
    not-duplicate, keeper, undo. If one line of an import is invalid, nothing is imported.

    \b
    Examples:
      kalai decide dances --import decided.csv
      kalai decide dances --list
      kalai decide dances --undo       undo the last import or click
      kalai decide dances --undo 3
    """
    if sum((source is not None, is_listed, count is not None)) != 1:
        raise click.UsageError("expected one of --import FILE, --list and --undo")
    path = decisions_path(dataset)
    check_dataset(dataset)
    if source is not None:
        import_file(dataset, path, source)
    elif count is not None:
        undo_steps(path, count)
    else:
        print_decisions(dataset, path)
