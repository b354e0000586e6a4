"""Class tables of handwriting sets: what a class id stands for.

A table is a CSV with at least the columns `class_id`, `unicode` and `iso15919`; the one that
ships with kalai is `tamil_classes.csv`, the 156 of HP Labs' Tamil sets.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from pipeline.errors import PipelineError

REQUIRED = ("class_id", "unicode", "iso15919")


@dataclass(frozen=True, slots=True)
class LetterClass:
    """A class: its id as in file names ("042"), the letter (NFC) and its romanisation."""

    class_id: str
    unicode: str
    iso15919: str


def class_table(name: str) -> dict[str, LetterClass]:
    """Read the classes by id: of a table that ships with kalai ("tamil"), or of a CSV's path.

    Raises PipelineError: no such table, a column or value missing, an id twice.
    """
    if re.fullmatch(r"[a-z0-9_]+", name):
        shipped = resources.files("pipeline").joinpath(f"{name}_classes.csv")
        if not shipped.is_file():
            raise PipelineError(f"no class table {name!r} ships with kalai; give a CSV's path")
        text, where = shipped.read_text(encoding="utf-8"), f"{name}_classes.csv"
    else:
        where = name
        try:
            text = Path(name).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise PipelineError(f"{name}: not a class table: {error}") from error
    return _parse(text, where)


def _parse(text: str, where: str) -> dict[str, LetterClass]:
    reader = csv.DictReader(text.splitlines())
    missing = [column for column in REQUIRED if column not in (reader.fieldnames or ())]
    if missing:
        raise PipelineError(f"{where}: the class table lacks the column {missing[0]}")
    classes: dict[str, LetterClass] = {}
    for row in reader:
        values = [unicodedata.normalize("NFC", (row[column] or "").strip()) for column in REQUIRED]
        if not values[0] or not values[1]:
            raise PipelineError(f"{where}: line {reader.line_num}: class_id or unicode is empty")
        if values[0] in classes:
            raise PipelineError(f"{where}: line {reader.line_num}: {values[0]} stands there twice")
        classes[values[0]] = LetterClass(*values)
    if not classes:
        raise PipelineError(f"{where}: the class table is empty")
    return classes
