"""List the images of a folder or a table, with their labels, before any file is opened.

A folder has a subfolder for each class. A table (CSV, TSV or Parquet) has a row for each image.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from pipeline.core.errors import PipelineError, Rejected
from pipeline.core.params import Folder, TableColumn
from pipeline.core.text_table import Table
from pipeline.dataset.columns import IMAGE, LABEL, OFFICIAL_PART, SOURCE_URL
from pipeline.dataset.ingest import files_and_links, utf8_name

# Columns in which a table may name its images; columns.image in params.yaml can name another.
IMAGE_COLUMNS = ("path", "file_name", "filename", "url", "image")
COLUMNS = get_args(TableColumn)  # what a table can say about an image
# A publisher's validation set becomes part of the training set: kalai draws its own, by group.
PARTS = {
    **dict.fromkeys(("train", "training", "valid", "val", "validation", "dev"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class Entry:
    """A listed image; if it cannot become a sample, `refused` says why."""

    sample_id: str
    label: str
    location: str  # a path inside the folder, or a URL
    columns: Mapping[str, str] = field(default_factory=dict)  # further columns of samples.parquet
    refused: Rejected | None = None

    @property
    def is_url(self) -> bool:
        """Whether the image has to be downloaded."""
        return _is_url(self.location)


def _is_url(location: str) -> bool:
    return location.lower().startswith(("http://", "https://"))


def scan(params: Folder) -> list[Entry]:
    """Return the entries of a dataset in the order of their sample ids.

    Raises PipelineError if the folder or the table is missing, or if the table lacks a column.
    """
    root = Path(params.path)
    if not root.is_dir():
        raise PipelineError(f"{root}: folder not found; params.yaml names it in folder.*.path")
    if params.table is None:
        entries = scan_folder(root, params.layout)
    else:
        entries = scan_table(root, params.table, params.columns)
    return sorted(entries, key=lambda entry: entry.sample_id)


def scan_folder(root: Path, layout: str = "class") -> list[Entry]:
    """List the files of `root`.

    Their paths are `<class>/...`, or `<part>/<class>/...` if `layout` is "part/class".

    Raises PipelineError if every class has the name of a part.
    """
    entries = [_entry_of_file(root, path, layout) for path in files_and_links(root)]
    labels = {entry.label for entry in entries if not entry.refused}
    if layout == "class" and are_parts(labels):
        names = ", ".join(sorted(labels))
        raise PipelineError(
            f"{root}: {names} are parts, not classes; set layout: part/class in params.yaml"
        )
    return entries


def are_parts(names: Collection[str]) -> bool:
    """Return whether folders with these names are parts (train, test) and not classes."""
    return len(names) > 1 and {name.lower() for name in names} <= set(PARTS)


def _entry_of_file(root: Path, path: Path, layout: str) -> Entry:
    inside = path.relative_to(root)
    sample_id = utf8_name(inside.as_posix())
    *folders, _ = unicodedata.normalize("NFC", sample_id).split("/")
    depth = layout.count("/")
    label = folders[depth] if depth < len(folders) else ""
    try:
        if path.is_dir():
            raise Rejected(
                "linked-folder", "DVC does not follow links to folders; copy the folder here"
            )
        if not label:
            raise Rejected("unlabelled", f"not in a folder {layout}/")
        columns = {OFFICIAL_PART: _part(folders[0])} if depth else {}
        return Entry(sample_id, label, os.fspath(inside), columns)
    except Rejected as refusal:
        return Entry(sample_id, label, os.fspath(inside), refused=refusal)


def _part(name: str) -> str:
    part = PARTS.get(name.lower())
    if part is None:
        raise Rejected("unknown-part", f"found {name}; expected one of {', '.join(PARTS)}")
    return part


def scan_table(root: Path, table: str, columns: Mapping[TableColumn, str]) -> list[Entry]:
    """List the rows of a CSV, TSV or Parquet file in `root`.

    The table's columns are found by the names in `COLUMNS`. For those that the table calls
    something else, `columns` maps a name in `COLUMNS` to the name in the table. Raises
    PipelineError if the table cannot be read, or if it has no column for images or none for labels.
    """
    source = Table(root / table)
    names = _column_names(source, columns)
    entries: list[Entry] = []
    seen: set[str] = set()
    for number, row in enumerate(source.rows(list(names.values())), start=1):
        if row is None:
            where = f"{table}, row {number}"
            why = f"expected {len(source.columns)} values, as in the header line"
            entries.append(Entry(where, "", where, refused=Rejected("malformed-row", why)))
            continue
        values = {name: text for name, text in zip(names, row, strict=True) if text}
        entry = _entry_of_row(root, values)
        if not entry.refused and entry.sample_id in seen:
            why = "an earlier row has the same image and label"
            entry = replace(entry, refused=Rejected("duplicate-row", why))
        seen.add(entry.sample_id)
        entries.append(entry)
    return entries


def _column_names(table: Table, columns: Mapping[TableColumn, str]) -> dict[str, str]:
    """Return the table's own name for each column of `COLUMNS` that it has."""
    names: dict[str, str] = {name: name for name in COLUMNS if name in table.columns}
    names.update({str(name): column for name, column in columns.items()})
    usual = [name for name in IMAGE_COLUMNS if name in table.columns]
    if IMAGE not in columns and usual:
        names[IMAGE] = usual[0]
    for name, expected in ((IMAGE, " or ".join(IMAGE_COLUMNS)), (LABEL, LABEL)):
        names.setdefault(name, expected)
    for name, column in names.items():
        if column not in table.columns:
            raise PipelineError(
                f"{table.path}: no column {column}; it has: {', '.join(table.columns)}; "
                f"set columns.{name} in params.yaml to the right one"
            )
    return names


def _entry_of_row(root: Path, values: dict[str, str]) -> Entry:
    location = values.pop(IMAGE, "")
    label = unicodedata.normalize("NFC", values.pop(LABEL, ""))
    try:
        if not location:
            raise Rejected("no-path", "the row has no image path or URL")
        if not label:
            raise Rejected("unlabelled", "the row has no label")
        if part := values.get(OFFICIAL_PART):
            values[OFFICIAL_PART] = _part(part)
        if _is_url(location):
            digest = hashlib.sha256(location.encode()).hexdigest()[:16]
            return Entry(f"{label}/{digest}", label, location, {SOURCE_URL: location, **values})
        inside = _inside(root, location)
        return Entry(f"{label}/{inside}", label, inside, values)
    except Rejected as refusal:
        return Entry(f"{label}/{location}", label, location, refused=refusal)


def _inside(root: Path, location: str) -> str:
    """Return a path relative to `root`. Raises Rejected if the path leaves `root`."""
    if "://" in location:
        raise Rejected("scheme", "expected a path, http:// or https://")
    inside = Path(os.path.relpath(root / location, root)).as_posix()
    if inside.split("/")[0] == "..":
        raise Rejected("outside", f"not in {root}; DVC sees changes in this folder only")
    return inside
