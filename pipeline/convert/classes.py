"""Class tables of handwriting datasets: the letter of each class id.

A table is a CSV with at least the columns `class_id`, `unicode` and `iso15919`. `TAMIL` is the
table of the 156 classes of HP Labs' Tamil archives; kalai ships it.
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
    """A class: its id as in file names ("042"), its letter (NFC) and its romanisation."""

    class_id: str
    unicode: str
    iso15919: str


def class_table(path: Path) -> dict[str, LetterClass]:
    """Return the classes of a table by id.

    Raises PipelineError if there is no such file, a column or value is missing, or an id repeats.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise PipelineError(
            f"{path}: class table not found; set convert.<dataset>.classes in params.yaml to a CSV"
            f" with the columns {', '.join(REQUIRED)}"
        ) from error
    except OSError as error:
        raise PipelineError(f"{path}: class table cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PipelineError(f"{path}: class table is not UTF-8: {error}") from error
    return _parse(text, str(path))


def _parse(text: str, where: str) -> dict[str, LetterClass]:
    reader = csv.DictReader(text.splitlines())
    missing = [column for column in REQUIRED if column not in (reader.fieldnames or ())]
    if missing:
        raise PipelineError(
            f"{where}: class table has no column {missing[0]!r}; it needs {', '.join(REQUIRED)}"
        )
    classes: dict[str, LetterClass] = {}
    for row in reader:
        values = [unicodedata.normalize("NFC", (row[column] or "").strip()) for column in REQUIRED]
        line = f"{where}: line {reader.line_num}"
        if not values[0] or not values[1]:
            raise PipelineError(f"{line}: class_id or unicode is empty; both are required")
        if values[0] in classes:
            raise PipelineError(
                f"{line}: class_id {values[0]!r} is repeated; each row needs its own"
            )
        classes[values[0]] = LetterClass(*values)
    if not classes:
        raise PipelineError(f"{where}: class table is empty; it needs a row for each class")
    return classes
