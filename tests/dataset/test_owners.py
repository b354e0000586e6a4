"""The modules of pipeline/dataset/ own the files below data/<dataset>/.

No other module may contain the name of such a file or of a column as a string. It uses
`pipeline.dataset.paths` and `pipeline.dataset.columns`.
"""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from pipeline.core.errors import PipelineError
from pipeline.dataset import (
    arrivals,
    columns,
    dedupe_result,
    pairs_table,
    paths,
    predictions,
    rejected,
    samples,
    split_table,
    suspects_table,
)
from tests.conftest import ROOT

PACKAGE = ROOT / "pipeline"
# params.py lists the columns that a user's table can fill
OWNERS = {PACKAGE / "dataset", PACKAGE / "core" / "params.py"}
OTHERS = [path for path in sorted(PACKAGE.rglob("*.py")) if not {path, *path.parents} & OWNERS]

COLUMNS = {value for name, value in vars(columns).items() if name.isupper()}
# Column names such as "label" or "width" mean other things elsewhere, too.
CLEAR_COLUMNS = {name for name in COLUMNS if "_" in name}


def file_names() -> set[str]:
    """Return the file names in pipeline.dataset.paths that do not depend on a key or a stage."""
    names = {paths.DECISIONS, paths.LEDGER, paths.LOCK.name}
    for name, function in inspect.getmembers(paths, inspect.isfunction):
        if name.endswith("_path") and list(inspect.signature(function).parameters) == ["dataset"]:
            names.add(function("birds").name)
    return names


def names_in(source: str) -> set[str]:
    """Return the string constants of a module that are names or paths, split at each "/"."""
    constants = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    texts = (node.value for node in constants if isinstance(node.value, str))
    return {part for text in texts if not set(text) & set(" \n") for part in text.split("/")}


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_outside_dataset_names_no_file_and_no_column(path: Path) -> None:
    found = names_in(path.read_text(encoding="utf-8"))
    known = found & CLEAR_COLUMNS
    assert not known, f"use the constants of pipeline.dataset.columns for {sorted(known)}"
    files = found & file_names()
    assert not files, f"use the functions of pipeline.dataset.paths for {sorted(files)}"


def test_names_are_found_in_paths_and_f_strings_but_not_in_prose() -> None:
    source = '''"""Docstrings may name split.csv."""
print(row["content_id"], f"data/{dataset}/split.csv", Path("data/birds/samples.parquet"))
raise PipelineError(f"{path}: no column sample_id")
'''
    found = names_in(source)
    assert {"content_id", "split.csv", "samples.parquet"} <= found
    assert "sample_id" not in found


def test_file_names_are_those_of_the_tables() -> None:
    expected = {"samples.parquet", "rejected.csv", "dedupe.parquet", "pairs.parquet", "split.csv"}
    expected |= {"decisions.csv", "arrivals.parquet", "predictions.parquet", "suspects.parquet"}
    assert expected | {"ledger.jsonl", "dvc.lock"} <= file_names()


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ("samples", samples.COLUMNS),
        ("rejected", rejected.HEADER),
        ("dedupe", dedupe_result.SCHEMA.names),
        ("pairs", pairs_table.SCHEMA.names),
        ("split", split_table.header(has_folds=True)),
        ("arrivals", arrivals.SCHEMA.names),
        ("predictions", predictions.SCHEMA.names),
        ("suspects", suspects_table.SCHEMA.names),
    ],
)
def test_each_column_of_a_table_has_a_constant(table: str, names: list[str]) -> None:
    assert set(names) <= COLUMNS, table


def test_the_error_for_a_damaged_table_names_the_command_that_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths.dataset_folder("birds").mkdir(parents=True)
    for path in (paths.pairs_path("birds"), paths.suspects_path("birds")):
        path.write_text("no table")
    with pytest.raises(PipelineError, match=r"pairs\.parquet: .*run `dvc checkout`.* `dvc repro`"):
        pairs_table.read_pairs("birds")
    with pytest.raises(PipelineError, match=r"; run `kalai suspects birds` to write it again$"):
        suspects_table.read_suspects("birds")
