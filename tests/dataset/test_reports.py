"""Reports are read with the keys of this version, whichever version wrote them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.core.errors import PipelineError
from pipeline.core.files import write_json
from pipeline.dataset.reports import current_keys, read_report


def test_an_earlier_version_called_balanced_accuracy_otherwise(tmp_path: Path) -> None:
    old = {"test": {"count": 2, "class_averaged_accuracy": 0.5, "class_averaged_low": 0.1}}
    write_json(tmp_path / "evaluate.json", old)
    assert read_report(tmp_path / "evaluate.json") == {
        "test": {"count": 2, "balanced_accuracy": 0.5, "balanced_accuracy_low": 0.1}
    }
    rows = [{"epoch": "1", "class_averaged_accuracy": "0.5"}]
    assert current_keys(rows) == [{"epoch": "1", "balanced_accuracy": "0.5"}]


def test_a_missing_report_is_none_and_a_damaged_one_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "evaluate.json"
    assert read_report(path) is None
    for text in ("{", "[]", "NaN"):
        path.write_text(text)
        with pytest.raises(PipelineError, match=r"evaluate\.json: file is damaged"):
            read_report(path)
