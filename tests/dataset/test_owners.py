"""Each file below data/<dataset>/ has one owner: no other room knows its name or its columns."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from pipeline.dataset import columns, paths
from tests.conftest import ROOT

PACKAGE = ROOT / "pipeline"
OWNERS = {PACKAGE / "dataset", PACKAGE / "core" / "params.py"}  # params names columns of tables
# Names such as "label" or "width" mean other things elsewhere, too; these mean a column.
COLUMNS = {value for name, value in vars(columns).items() if name.isupper() and "_" in value}
NAMED = [
    getattr(paths, name)("x").name
    for name in vars(paths)
    if name.endswith("_path") and name[0] > "_"
    if name not in {"ledger_path", "archive_path", "sheet_path", "report_path", "crawl_report_path"}
]
FILES = {*NAMED, paths.LEDGER, "dvc.lock"}


def strings(path: Path) -> set[str]:
    """Return the string constants of a module that are whole names."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if not {path, *path.parents} & OWNERS]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_other_room_knows_a_column_or_a_file_name(path: Path) -> None:
    found = strings(path) & (COLUMNS | FILES)
    assert not found, f"use pipeline.dataset.columns or pipeline.dataset.paths for {sorted(found)}"


def test_the_owners_know_them() -> None:
    assert {"sample_id", "content_id", "keeper_id", "label_probability"} <= COLUMNS
    assert {"samples.parquet", "split.csv", "decisions.csv", "ledger.jsonl"} <= FILES
