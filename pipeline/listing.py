"""A listing: which pictures there are, where each lies, and what is said about it.

Read from a folder (a folder a class) or from a table (a row a picture); nothing is opened yet.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from pipeline.errors import PipelineError, Rejected
from pipeline.intake import picture_files, shown

# Where a table may keep its pictures' paths or URLs; `columns: {image: ...}` names another.
IMAGE_COLUMNS = ("path", "file_name", "filename", "url", "image")
# A publisher's validation part is trained on: kalai chooses its own, by groups that never cross.
PARTS = {
    **dict.fromkeys(("train", "training", "valid", "val", "validation", "dev"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class Entry:
    """A listed picture. `refused` says why what is listed cannot become a sample."""

    sample_id: str
    label: str
    place: str  # a path inside the folder, or a URL
    said: Mapping[str, str] = field(default_factory=dict)  # columns of the border
    refused: Rejected | None = None

    @property
    def is_url(self) -> bool:
        """Say whether the picture has to be downloaded."""
        return _is_url(self.place)


def _is_url(place: str) -> bool:
    return place.lower().startswith(("http://", "https://"))


def of_folder(root: Path, layout: str = "class") -> list[Entry]:
    """List the files under `root`: `<class>/...` or, with `part/class`, `<part>/<class>/...`.

    Raises PipelineError when the classes are named as parts are.
    """
    entries = [_of_file(path.relative_to(root), layout) for path in picture_files(root)]
    labels = {entry.label for entry in entries if not entry.refused}
    if len(labels) > 1 and layout == "class" and {label.lower() for label in labels} <= set(PARTS):
        names = ", ".join(sorted(labels))
        raise PipelineError(f"{root}: {names} are parts, not classes; say layout: part/class")
    return entries


def _of_file(path: Path, layout: str) -> Entry:
    place = shown(path.as_posix())
    *folders, _ = unicodedata.normalize("NFC", place).split("/")
    depth = layout.count("/")
    label = folders[depth] if depth < len(folders) else ""
    try:
        if not label:
            raise Rejected("unlabelled", f"not in a folder {layout}/")
        said = {"official_part": _part(folders[0])} if depth else {}
        return Entry(place, label, os.fspath(path), said)
    except Rejected as refusal:
        return Entry(place, label, os.fspath(path), refused=refusal)


def _part(name: str) -> str:
    part = PARTS.get(name.lower())
    if part is None:
        raise Rejected("unknown-part", f"found {name}; expected one of {', '.join(PARTS)}")
    return part


def of_table(
    root: Path, table: str, columns: Mapping[str, str], known: Iterable[str]
) -> list[Entry]:
    """List the rows of a CSV, TSV or Parquet file in `root`.

    `columns` maps columns of the border to the table's where the names differ; all of `known`
    are taken where the table has them. Raises PipelineError for a table that cannot be read or
    has no pictures or labels.
    """
    path = root / table
    frame, entries = _read(path)
    names = _column_names(path, frame.column_names, columns, known)
    rows = zip(*(_texts(path, frame, name) for name in names.values()), strict=True)
    seen: set[str] = set()
    for row in rows:
        said = {key: value for key, value in zip(names, row, strict=True) if value}
        entry = _of_row(root, said)
        if not entry.refused and entry.sample_id in seen:
            twice = Rejected("duplicate-row", "a row before names the same picture and label")
            entry = replace(entry, refused=twice)
        seen.add(entry.sample_id)
        entries.append(entry)
    return entries


def _read(path: Path) -> tuple[pa.Table, list[Entry]]:
    """Return a table and an entry for each row that has too few or too many columns."""
    broken: list[Entry] = []

    def note(row: Any) -> str:
        place = f"{path.name}, row {row.number}"
        detail = f"{row.actual_columns} columns, expected {row.expected_columns}"
        broken.append(Entry(place, "", place, refused=Rejected("malformed-row", detail)))
        return "skip"

    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pq.read_table(path), broken
        if path.suffix.lower() not in (".csv", ".tsv"):
            raise PipelineError(f"{path}: expected a .csv, .tsv or .parquet")
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        parsing = pyarrow.csv.ParseOptions(
            delimiter=delimiter, newlines_in_values=True, invalid_row_handler=note
        )
        reading = pyarrow.csv.ReadOptions(use_threads=False)  # or rows would have no number
        with pyarrow.csv.open_csv(path, reading, parsing) as head:
            texts = dict.fromkeys(head.schema.names, pa.string())  # "007" is no number
        broken.clear()  # the head is read again
        converting = pyarrow.csv.ConvertOptions(column_types=texts, strings_can_be_null=False)
        return pyarrow.csv.read_csv(path, reading, parsing, converting), broken
    except FileNotFoundError as error:
        raise PipelineError(f"{path}: no such table") from error
    except pa.ArrowException as error:
        raise PipelineError(f"{path}: cannot be read: {error}") from error


def _column_names(
    path: Path, has: list[str], columns: Mapping[str, str], known: Iterable[str]
) -> dict[str, str]:
    """Return the table's column for each of the border's that it has."""
    found = {name: name for name in known if name in has} | dict(columns)
    if "image" not in columns and (usual := [name for name in IMAGE_COLUMNS if name in has]):
        found["image"] = usual[0]
    for name, column in found.items():
        if column not in has:
            raise PipelineError(
                f"{path}: no column {column} (columns.{name}); it has: {', '.join(has)}"
            )
    for name in ("image", "label"):
        if name not in found:
            usual = list(IMAGE_COLUMNS) if name == "image" else [name]
            raise PipelineError(
                f"{path}: no column {' or '.join(usual)}; it has: {', '.join(has)}; "
                f"name one in columns.{name}"
            )
    return found


def _texts(path: Path, frame: pa.Table, name: str) -> list[str]:
    try:
        values = frame[name].cast(pa.string()).to_pylist()
    except pa.ArrowException as error:
        raise PipelineError(f"{path}: column {name} is {frame[name].type}, not text") from error
    return [unicodedata.normalize("NFC", (value or "").strip()) for value in values]


def _of_row(root: Path, said: dict[str, str]) -> Entry:
    place, label = said.pop("image", ""), said.pop("label", "")
    try:
        if not place:
            raise Rejected("no-path", "the row names no picture")
        if not label:
            raise Rejected("unlabelled", "the row has no label")
        if part := said.get("official_part"):
            said["official_part"] = _part(part)
        if _is_url(place):
            digest = hashlib.sha256(place.encode()).hexdigest()[:16]
            return Entry(f"{label}/{digest}", label, place, {"source_url": place, **said})
        inside = _inside(root, place)
        return Entry(f"{label}/{inside}", label, inside, said)
    except Rejected as refusal:
        return Entry(f"{label}/{place}", label, place, refused=refusal)


def _inside(root: Path, place: str) -> str:
    """Return a path as seen from `root`; an absolute one may lie in it, too."""
    if "://" in place:
        raise Rejected("scheme", "neither a path nor http or https")
    inside = Path(os.path.relpath(root / place, root)).as_posix()
    if inside.split("/")[0] == "..":
        raise Rejected("outside", f"not in {root}, so DVC would not see it change")
    return inside
