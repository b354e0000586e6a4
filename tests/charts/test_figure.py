"""A figure is written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.charts.figure import drawing


def test_a_drawing_that_fails_writes_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with drawing(tmp_path / "x.png"):
            raise RuntimeError("in the middle")

    check: Callable[[], None] = fail  # mypy takes the code after a block that raises as dead
    with pytest.raises(RuntimeError, match="in the middle"):
        check()
    assert list(tmp_path.iterdir()) == []


def test_a_drawing_replaces_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    for text in ("one", "two"):
        before = path.read_bytes() if path.exists() else b""
        with drawing(path, (2, 1)) as figure:
            figure.text(0, 0, text)
        assert path.read_bytes() != before
    assert [each.name for each in tmp_path.iterdir()] == ["x.png"]
