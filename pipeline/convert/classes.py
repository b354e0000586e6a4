"""Class tables of handwriting sets: what a class id stands for.

A table is a CSV with at least the columns `class_id`, `unicode` and `iso15919`; `TAMIL`, which
ships with kalai, has the 156 of HP Labs' Tamil sets.
"""

from __future__ import annotations

import csv
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import PipelineError

TAMIL = Path(__file__).with_name("tamil_classes.csv")
REQUIRED = ("class_id", "unicode", "iso15919")


@dataclass(frozen=True, slots=True)
class LetterClass:
    """A class: its id as in file names ("042"), the letter (NFC) and its romanisation."""

    class_id: str
    unicode: str
    iso15919: str


def class_table(path: Path) -> dict[str, LetterClass]:
    """Read the classes of a table by id.

    Raises PipelineError: no such table, a column or value missing, an id twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise PipelineError(f"{path}: not a class table: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PipelineError(f"{path}: not a class table: {error}") from error
    return _parse(text, str(path))


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
