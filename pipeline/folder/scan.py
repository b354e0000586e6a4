"""A listing: which pictures there are, where each lies, and what is said about it.

Read from a folder (a folder a class) or from a table (a row a picture); nothing is opened yet.
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
from pipeline.dataset.ingest import files_and_links, utf8_name

# Where a table may keep its pictures' paths or URLs; `columns: {image: ...}` names another.
IMAGE_COLUMNS = ("path", "file_name", "filename", "url", "image")
COLUMNS = get_args(TableColumn)  # what a table may say of a picture
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


def listed(params: Folder) -> list[Entry]:
    """List a dataset's pictures in the order of their ids.

    Raises PipelineError when there is no such folder or table, or a table without its columns.
    """
    root = Path(params.path)
    if not root.is_dir():
        raise PipelineError(f"{root}: no such folder")
    if params.table is None:
        entries = of_folder(root, params.layout)
    else:
        entries = of_table(root, params.table, params.columns)
    return sorted(entries, key=lambda entry: entry.sample_id)


def of_folder(root: Path, layout: str = "class") -> list[Entry]:
    """List the files under `root`: `<class>/...` or, with `part/class`, `<part>/<class>/...`.

    Raises PipelineError when the classes are named as parts are.
    """
    entries = [_of_path(root, path, layout) for path in files_and_links(root)]
    labels = {entry.label for entry in entries if not entry.refused}
    if layout == "class" and are_parts(labels):
        names = ", ".join(sorted(labels))
        raise PipelineError(f"{root}: {names} are parts, not classes; say layout: part/class")
    return entries


def are_parts(names: Collection[str]) -> bool:
    """Say whether folders of these names are a publisher's parts rather than classes."""
    return len(names) > 1 and {name.lower() for name in names} <= set(PARTS)


def _of_path(root: Path, path: Path, layout: str) -> Entry:
    inside = path.relative_to(root)
    place = utf8_name(inside.as_posix())
    *folders, _ = unicodedata.normalize("NFC", place).split("/")
    depth = layout.count("/")
    label = folders[depth] if depth < len(folders) else ""
    try:
        if path.is_dir():
            raise Rejected("linked-folder", "DVC does not look into it; put the folder itself here")
        if not label:
            raise Rejected("unlabelled", f"not in a folder {layout}/")
        said = {"official_part": _part(folders[0])} if depth else {}
        return Entry(place, label, os.fspath(inside), said)
    except Rejected as refusal:
        return Entry(place, label, os.fspath(inside), refused=refusal)


def _part(name: str) -> str:
    part = PARTS.get(name.lower())
    if part is None:
        raise Rejected("unknown-part", f"found {name}; expected one of {', '.join(PARTS)}")
    return part


def of_table(root: Path, table: str, columns: Mapping[TableColumn, str]) -> list[Entry]:
    """List the rows of a CSV, TSV or Parquet file in `root`.

    `columns` maps names of `COLUMNS` to the table's where they differ; what the table has of the
    others is taken, too. Raises PipelineError for a table that cannot be read or has no pictures
    or labels.
    """
    source = Table(root / table)
    names = _column_names(source, columns)
    entries: list[Entry] = []
    seen: set[str] = set()
    for number, row in enumerate(source.rows(list(names.values())), start=1):
        if row is None:
            place = f"{table}, row {number}"
            broken = Rejected("malformed-row", f"not {len(source.columns)} columns, as the first")
            entries.append(Entry(place, "", place, refused=broken))
            continue
        entry = _of_row(root, {name: text for name, text in zip(names, row, strict=True) if text})
        if not entry.refused and entry.sample_id in seen:
            twice = Rejected("duplicate-row", "a row before names the same picture and label")
            entry = replace(entry, refused=twice)
        seen.add(entry.sample_id)
        entries.append(entry)
    return entries


def _column_names(table: Table, columns: Mapping[TableColumn, str]) -> dict[str, str]:
    """Return the table's column for each of the border's that it has."""
    has = table.columns
    found: dict[str, str] = {name: name for name in COLUMNS if name in has}
    found.update({str(name): column for name, column in columns.items()})
    if "image" not in columns and (usual := [name for name in IMAGE_COLUMNS if name in has]):
        found["image"] = usual[0]
    for name, expected in (("image", " or ".join(IMAGE_COLUMNS)), ("label", "label")):
        if name not in found:
            found[name] = expected
    for name, column in found.items():
        if column not in has:
            raise PipelineError(
                f"{table.path}: no column {column}; it has: {', '.join(has)}; "
                f"name the right one in columns.{name}"
            )
    return found


def _of_row(root: Path, said: dict[str, str]) -> Entry:
    place, label = said.pop("image", ""), unicodedata.normalize("NFC", said.pop("label", ""))
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
