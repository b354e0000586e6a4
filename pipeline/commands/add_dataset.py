"""Add a dataset of one's own pictures: entries in params.yaml, and a file for decisions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import yaml
from pydantic import ValidationError

from pipeline.core.errors import PipelineError, Stage
from pipeline.core.files import write_text
from pipeline.core.params import PARAMS, Folder, read_params
from pipeline.core.params_edit import entry_like, scalar, with_entry
from pipeline.dataset.decisions import append_decisions
from pipeline.dataset.paths import dataset_folder
from pipeline.folder.scan import COLUMNS, Entry, are_parts, listed


def with_dataset(text: str, name: str, params: Folder, entries: list[Entry], like: str) -> str:
    """Return the text of params.yaml with a dataset in every section that needs it.

    It is split by what `entries` say of the publisher's parts; else it is treated as `like` is.
    Raises PipelineError where the name is taken, `like` is unknown or the text has another form.
    """
    values = yaml.safe_load(text)
    for section in ("dedupe", "train", "evaluate"):
        if like not in values[section]:
            known = ", ".join(values[section])
            raise PipelineError(f"{PARAMS}: {section}.{like} is missing; {section} has: {known}")
        text = with_entry(text, section, entry_like(text, section, like, name))
    text = with_entry(text, "split", _split_entry(name, entries))
    return with_entry(text, "folder", _folder_entry(name, params))


def _folder_entry(name: str, params: Folder) -> str:
    lines = [f"{name}:", f"  path: {scalar(params.path)}   # DVC sees what changes in it"]
    if params.table is not None:
        lines.append(f"  table: {scalar(params.table)}   # in it; a row a picture")
    else:
        lines.append(f"  layout: {params.layout}   # how its folders are nested")
    if params.columns:
        pairs = ", ".join(f"{ours}: {scalar(theirs)}" for ours, theirs in params.columns.items())
        lines.append(f"  columns: {{{pairs}}}   # what the table calls them")
    lines.append(f"  max_side: {params.max_side}   # pixels; larger pictures are reduced to this")
    return "\n".join(lines)


def _split_entry(name: str, entries: list[Entry]) -> str:
    if any(entry.said.get("official_part") == "test" for entry in entries):
        method, test = "official   # the publisher's test part; validation from its train part", 0.0
    else:
        method, test = "group   # near duplicates, and what shares a group, stay together", 0.15
    return (
        f"{name}:\n"
        f"  method: {method}\n"
        "  seed: 8   # another one deals anew\n"
        "  valid: 0.15   # share; choices are made by it\n"
        f"  test: {test:g}   # share; looked at last\n"
    )


@click.command(cls=Stage)
@click.argument("name")
@click.argument("path", type=click.Path(exists=True, file_okay=False))
@click.option("--table", help="A .csv, .tsv or .parquet in PATH with a row a picture.")
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="OURS=THEIRS",
    help="What the table calls a column: image=photo, label=species, group=observer, ...",
)
@click.option("--like", default="dances", show_default=True, help="The dataset to treat it like.")
def main(name: str, path: str, table: str | None, columns: tuple[str, ...], like: str) -> None:
    """Add pictures of your own to params.yaml as a dataset.

    PATH holds a folder a class, or folders train and test with those in them, or a table of paths
    or URLs with labels. Every stage after it is the same as for the others.

    \b
    Examples:
      kalai add-dataset birds ../birds
      kalai add-dataset birds ../birds --table labels.csv --column label=species
      dvc repro evaluate@birds
    """
    text, _ = read_params()
    params = _params(path, table, columns)
    entries = [entry for entry in listed(params) if not entry.refused]
    if not entries:
        raise PipelineError(f"{path}: no pictures in it; expected {path}/<class>/...")
    text = with_dataset(text, name, params, entries, like)
    folder = dataset_folder(name)
    if folder.resolve().is_relative_to(Path(path).resolve()):
        raise PipelineError(f"{path}: holds {folder}, where the dataset is to lie")
    if not (folder / "decisions.csv").exists():
        append_decisions(folder / "decisions.csv", [])
    write_text(PARAMS, text)
    classes = len({entry.label for entry in entries})
    click.echo(f"params.yaml: added {name}: {len(entries)} pictures of {classes} classes")
    click.echo(f"next: dvc repro evaluate@{name}")


def _params(path: str, table: str | None, columns: Sequence[str]) -> Folder:
    """Return the params of a dataset; whether its folders are parts is told by their names."""
    called: dict[str, str] = {}
    for column in columns:
        ours, _, theirs = column.partition("=")
        if ours not in COLUMNS or not theirs:
            known = ", ".join(COLUMNS)
            raise PipelineError(f"--column {column}: expected OURS=THEIRS, OURS one of {known}")
        called[ours] = theirs
    folders = [entry.name for entry in Path(path).iterdir() if entry.is_dir()]
    layout = "part/class" if table is None and are_parts(folders) else "class"
    try:
        return Folder.model_validate(
            {"path": path, "layout": layout, "table": table, "columns": called}
        )
    except ValidationError as error:
        raise PipelineError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
