from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import pipeline
from pipeline.dataset.split_table import Part
from pipeline.train.provenance import commit, fingerprint


def test_a_fingerprint_depends_on_the_samples_and_not_on_their_order() -> None:
    part = Part(["a", "b"], ["1", "2"], ["x", "y"], ["", ""])
    assert fingerprint(part) == fingerprint(Part(["b", "a"], ["2", "1"], ["y", "x"], ["", ""]))
    others = [replace(part, labels=["x", "x"]), replace(part, content_ids=["1", "3"]), Part()]
    assert len({fingerprint(each) for each in [part, *others]}) == 4


def test_the_commit_of_the_code_is_marked_dirty_if_files_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tmp_path / "pipeline"
    code.mkdir()
    (code / "__init__.py").write_text("")
    monkeypatch.setattr(pipeline, "__file__", str(code / "__init__.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert commit() is None  # no repository at all
    git("init", "-q")
    (tmp_path / "other").write_text("")
    git("add", "other")
    git("commit", "-q", "-m", "other")
    assert commit() is None  # one that holds something else
    git("add", "pipeline")
    git("commit", "-q", "-m", "code")
    head = git("rev-parse", "HEAD")
    (tmp_path / "other").write_text("changed")
    git("commit", "-q", "-am", "data")
    assert commit() == head
    (code / "__init__.py").write_text("changed")
    assert commit() == f"{head}-dirty"
    monkeypatch.setenv("PATH", "")
    assert commit() is None
