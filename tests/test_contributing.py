"""docs/contributing.md: the tasks are there, and the files that they name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
TASKS = {
    "Add a search engine": {"pipeline/crawl/engines/registry.py"},
    "Add a kind of near-duplicate": {"pipeline/dataset/pairs_table.py", "pipeline/dedupe/edges.py"},
    "Add an architecture": {"pipeline/model/architectures.py"},
    "Add a metric": {"pipeline/model/metrics.py"},
    "Add a review tab": {"pipeline/pages/review/tabs/registry.py"},
    "Add a section of the report": {"pipeline/report/sections.py"},
    "Add a column of samples.parquet": {"pipeline/dataset/columns.py"},
    "Add an archive layout": {"pipeline/convert/layouts.py"},
    "Add a stage": {"dvc.yaml", "params.yaml", "pipeline/cli.py"},
}
PATH = re.compile(r"`((?:[\w.<>-]+/)+[\w.<>-]*|[\w.-]+\.(?:yaml|md|toml)|\.gitignore)`")


def steps(task: str) -> list[str]:
    """Return the numbered steps of a task."""
    _, _, text = PAGE.partition(f"\n### {task}\n")
    text = re.split(r"\n##+ ", text)[0]
    return re.findall(r"^\d+\. (.*(?:\n {3,}.*)*)", text, flags=re.M)


def test_the_page_has_exactly_these_tasks() -> None:
    assert re.findall(r"^### (.*)$", PAGE, flags=re.M) == list(TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_names_files_that_exist(task: str) -> None:
    found = steps(task)
    assert len(found) >= 3
    named: set[str] = set()
    for step in found:
        paths = PATH.findall(step)
        assert paths, f"this step names no file: {step}"
        named.update(paths)
    assert named >= TASKS[task]
    for path in named:
        existing = Path(path.partition("<")[0] or ".")
        new = "<" in path
        assert (ROOT / existing).is_dir() if new else (ROOT / path).exists(), path
    assert any(path.startswith("tests/") for path in named), "a task has a test"


@pytest.mark.parametrize("task", TASKS)
def test_a_name_in_a_task_exists_in_the_file_that_it_belongs_to(task: str) -> None:
    """Tables, classes and functions in backquotes occur in one of the files of their step."""
    for step in steps(task):
        texts = [
            (ROOT / path).read_text(encoding="utf-8")
            for path in PATH.findall(step)
            if "<" not in path and (ROOT / path).is_file()
        ]
        for name in re.findall(r"`([A-Za-z_0-9]{3,})`", step):
            assert any(re.search(rf"\b{name}\b", text) for text in texts), f"{name}: {step}"


def test_every_room_is_on_the_page() -> None:
    _, _, text = PAGE.partition("\n## The rooms\n")
    block = re.search(r"```text\n(.*?)```", text, flags=re.DOTALL)
    assert block is not None
    rooms = {path.name for path in (ROOT / "pipeline").iterdir() if (path / "__init__.py").exists()}
    assert set(re.findall(r"\b(\w+)/", block[1])) >= rooms
    assert {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()} >= rooms
