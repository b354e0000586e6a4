"""`kalai add-dataset`: insert a dataset into params.yaml and create its decisions.csv."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import yaml
from pydantic import ValidationError

from pipeline.core.errors import PipelineError, Stage
from pipeline.core.files import write_text
from pipeline.core.params import PARAMS, Folder, first_problem, read_params, section, validate
from pipeline.core.params_edit import entry_like, scalar, with_entry
from pipeline.dataset.columns import OFFICIAL_PART
from pipeline.dataset.decisions import append_decisions
from pipeline.dataset.paths import dataset_folder, decisions_path
from pipeline.dataset.split_table import TEST
from pipeline.folder.scan import COLUMNS, Entry, are_parts, scan


def with_dataset(text: str, name: str, params: Folder, entries: list[Entry], like: str) -> str:
    """Return the text of params.yaml with a new dataset in each section that needs one.

    The entries of dedupe, train and evaluate are copied from the dataset `like`. `entries` is the
    dataset's own entry in each section. If they say that its publisher gave a test set, the split
    keeps that as the test part. Raises PipelineError if the name exists, if `like` is unknown, or
    if the text cannot be edited line by line.
    """
    before = validate(yaml.safe_load(text))
    for stage in ("dedupe", "train", "evaluate"):
        section(before, stage, like)  # raises if there is nothing to copy
        text = with_entry(text, stage, entry_like(text, stage, like, name))
    text = with_entry(text, "split", _split_entry(name, entries))
    return with_entry(text, "folder", _folder_entry(name, params))


def _folder_entry(name: str, params: Folder) -> str:
    lines = [f"{name}:", f"  path: {scalar(params.path)}   # DVC tracks its files"]
    if params.table is not None:
        lines.append(f"  table: {scalar(params.table)}   # inside path; one row per image")
    else:
        lines.append(f"  layout: {params.layout}   # nesting of its folders")
    if params.columns:
        pairs = ", ".join(f"{ours}: {scalar(theirs)}" for ours, theirs in params.columns.items())
        lines.append(f"  columns: {{{pairs}}}   # names in the table")
    lines.append(f"  max_side: {params.max_side}   # pixels; larger images are reduced")
    return "\n".join(lines)


def _split_entry(name: str, entries: list[Entry]) -> str:
    if any(entry.columns.get(OFFICIAL_PART) == TEST for entry in entries):
        method, test = "official   # keeps the published test set; valid is taken from train", 0.0
    else:
        method, test = "group   # near-duplicates and images of one group stay in one part", 0.15
    return (
        f"{name}:\n"
        f"  method: {method}\n"
        "  seed: 8   # another seed gives another split\n"
        "  valid: 0.15   # share; for choosing models and settings\n"
        f"  test: {test:g}   # share; for the final measurement\n"
    )


@click.command(cls=Stage)
@click.argument("name")
@click.argument("path", type=click.Path(exists=True, file_okay=False))
@click.option("--table", help="A .csv, .tsv or .parquet file in PATH with one row per image.")
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="OURS=THEIRS",
    help="Map a column to its name in the table, such as label=species. Repeatable.",
)
@click.option(
    "--like", default="dances", show_default=True, help="Copy the params of this dataset."
)
def main(name: str, path: str, table: str | None, columns: tuple[str, ...], like: str) -> None:
    """Add your own images to params.yaml as a dataset.

    PATH holds one folder per class, or folders train and test that hold one folder per class, or
    a table of labels with paths or URLs. All stages work as for the other datasets.

    \b
    Examples:
      kalai add-dataset birds ../birds
      kalai add-dataset birds ../birds --table labels.csv --column label=species
      dvc repro evaluate@birds
    """
    text, _ = read_params()
    params = _params(path, table, columns)
    entries = [entry for entry in scan(params) if not entry.refused]
    if not entries:
        raise PipelineError(f"{path}: contains no images; expected {path}/<class>/<image>")
    text = with_dataset(text, name, params, entries, like)
    folder = dataset_folder(name)
    if folder.resolve().is_relative_to(Path(path).resolve()):
        raise PipelineError(f"{path}: contains {folder}, where kalai writes; choose another folder")
    if not decisions_path(name).exists():
        append_decisions(decisions_path(name), [])
    write_text(PARAMS, text)
    classes = len({entry.label for entry in entries})
    click.echo(f"{PARAMS}: added {name}: {len(entries)} images of {classes} classes")
    click.echo(f"next, run `dvc repro evaluate@{name}`")


def _params(path: str, table: str | None, columns: Sequence[str]) -> Folder:
    """Return a dataset's params; folders named train and test are treated as its parts."""
    mapping: dict[str, str] = {}
    for column in columns:
        ours, _, theirs = column.partition("=")
        if ours not in COLUMNS or not theirs:
            known = ", ".join(COLUMNS)
            raise PipelineError(f"--column {column}: expected OURS=THEIRS; OURS is one of: {known}")
        mapping[ours] = theirs
    folders = [entry.name for entry in Path(path).iterdir() if entry.is_dir()]
    layout = "part/class" if table is None and are_parts(folders) else "class"
    try:
        return Folder.model_validate(
            {"path": path, "layout": layout, "table": table, "columns": mapping}
        )
    except ValidationError as error:
        raise PipelineError(first_problem(error)) from error
