"""Reports: the JSON metrics below data/<dataset>/reports, which stages write and git tracks."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.core.files import read_json
from pipeline.dataset.tables import damaged

# Keys that an earlier version wrote, and what they are called now.
_RENAMED = {
    "class_averaged_accuracy": "balanced_accuracy",
    "class_averaged_low": "balanced_accuracy_low",
    "class_averaged_high": "balanced_accuracy_high",
}


def current_keys(value: Any) -> Any:
    """Return a report's content with old keys renamed to this version's, at every depth."""
    if isinstance(value, dict):
        return {_RENAMED.get(key, key): current_keys(each) for key, each in value.items()}
    if isinstance(value, list):
        return [current_keys(each) for each in value]
    return value


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn any failure to parse or interpret a report into a PipelineError that names the file."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise damaged(path, repr(error)) from error


def read_report(path: Path) -> dict[str, Any] | None:
    """Return the content of a JSON report; None if the file does not exist.

    Raises PipelineError if the file is damaged.
    """
    if not path.exists():
        return None
    with reading(path):
        report = read_json(path)
        if not isinstance(report, dict):
            raise TypeError(f"expected an object, found {type(report).__name__}")
        return dict(current_keys(report))
