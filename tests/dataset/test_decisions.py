"""Decisions: lines are only appended, an undo is a line too, and a write is atomic."""

from __future__ import annotations

import multiprocessing
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import PipelineError
from pipeline.dataset.decisions import (
    HEADER,
    MAX_REASON,
    Decision,
    Verdict,
    append_decisions,
    current_user,
    now,
    read_decisions,
    safe_line,
    verdicts,
)

A, B = "a" * 64, "b" * 64
TIME = "2024-05-01T12:00:00+00:00"


def decision(action: str, label: str = "", content_id: str = A, reason: str = "") -> Decision:
    return Decision(TIME, content_id, action, label, reason, "anna")


def test_appended_decisions_are_read_and_old_lines_stay(tmp_path: Path) -> None:
    path = tmp_path / "new" / "decisions.csv"
    first = [decision("delete", reason='a "poster", not\na dance'), decision("keep", content_id=B)]
    append_decisions(path, first)
    before = path.read_bytes()
    append_decisions(path, [decision("undo")])
    assert path.read_bytes().startswith(before)
    assert read_decisions(path) == [*first, decision("undo")]
    assert read_decisions(tmp_path / "none.csv") == []


def test_a_file_saved_by_a_spreadsheet_is_read_and_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    line = f"{TIME},{A},keep,,,anna"
    path.write_bytes(b"\xef\xbb\xbf" + f"{','.join(HEADER)}\r\n{line}\r\n".encode())
    append_decisions(path, [decision("undo")])
    assert read_decisions(path) == [decision("keep"), decision("undo")]


def test_every_action_is_active_until_undone() -> None:
    assert verdicts([decision("relabel", "kathak")]) == {A: Verdict(label="kathak")}
    assert verdicts([decision("keep"), decision("delete")]) == {A: Verdict(action="delete")}
    back = [decision("delete"), decision("relabel", "x")]
    assert verdicts(back) == {A: Verdict(label="x")}, "relabel cancels delete"
    assert verdicts([*back, decision("undo")]) == {A: Verdict(action="delete")}
    assert verdicts([*back, decision("undo"), decision("undo")]) == {}
    both = [decision("relabel", "x"), decision("keeper")]
    assert verdicts(both) == {A: Verdict("x", "keeper")}
    assert verdicts([decision("keep"), decision("delete", content_id=B)]).keys() == {A, B}


@given(st.lists(st.sampled_from(["keep", "delete", "not-duplicate", "keeper"]), max_size=8))
def test_as_many_undos_as_decisions_leave_none_active(actions: list[str]) -> None:
    decisions = [decision(action) for action in actions]
    assert verdicts([*decisions, *[decision("undo")] * len(actions)]) == {}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"{TIME},{A},delet,,,", "3: unknown action 'delet'; allowed: keep, delete"),
        (f"{TIME},{A[:-1]},keep,,,", "3: content_id 'aaaa"),
        (f"yesterday,{A},keep,,,", "3: time 'yesterday' is not ISO 8601"),
        (f"2024-05-01T12:00:00,{A},keep,,,", "3: time '2024-05-01T12:00:00' has no time zone"),
        (f"{TIME},{A},relabel,,,", "3: action relabel needs a label"),
        (f"{TIME},{A},keep,kathak,,", "3: action keep takes no label, found 'kathak'"),
        (f"{TIME},{A},keep", "3: found 3 columns; expected 6"),
        (f'{TIME},{A},keep,,"open', "3:"),
        ("", "3: found 0 columns"),
        (f"{TIME},{B},undo,,,", "3: undo: image bbbbbbbbbbbb has no active decision"),
    ],
)
def test_an_error_names_the_damaged_line(tmp_path: Path, line: str, expected: str) -> None:
    path = tmp_path / "decisions.csv"
    path.write_text(f"{','.join(HEADER)}\n{TIME},{A},keep,,,\n{line}\n{TIME},{A},keep,,,\n")
    before = path.read_bytes()
    with pytest.raises(PipelineError, match=re.escape(f"{path}:{expected}")):
        read_decisions(path)
    with pytest.raises(PipelineError):
        append_decisions(path, [decision("keep")])
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"time,content_id\n", ":1: expected the header time,content_id,action"),
        (b"", ":1: the last line is truncated"),
        (f"{','.join(HEADER)}\n{TIME},{A},ke".encode(), ":2: the last line is truncated"),
        (
            f"{','.join(HEADER)}\n{TIME},{A},keep,,\xff,\n".encode("latin-1"),
            ":2: line is not UTF-8",
        ),
    ],
)
def test_an_error_names_the_damaged_file(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "decisions.csv"
    path.write_bytes(content)
    with pytest.raises(PipelineError, match=re.escape(expected)):
        read_decisions(path)


def test_an_undo_without_a_decision_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    append_decisions(path, [decision("keep")])
    before = path.read_bytes()
    with pytest.raises(ValueError, match="no active decision to take back"):
        append_decisions(path, [decision("undo"), decision("undo")])
    assert path.read_bytes() == before


def add_ten(path: Path, who: str) -> None:
    for number in range(10):
        append_decisions(path, [Decision(now(), f"{number:064x}", "keep", "", "", who)])


def test_concurrent_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    spawn = multiprocessing.get_context("spawn")
    people = [spawn.Process(target=add_ten, args=(path, who)) for who in ("anna", "ben", "chi")]
    for person in people:
        person.start()
    for person in people:
        person.join(60)
        assert person.exitcode == 0
    decisions = read_decisions(path)
    assert len(decisions) == 30
    for who in ("anna", "ben", "chi"):
        ids = [line.content_id for line in decisions if line.who == who]
        assert ids == [f"{number:064x}" for number in range(10)]


def test_the_user_is_that_of_git_or_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("LOGNAME", "ben")
    subprocess.run(["git", "init", "-q"], check=True)
    assert current_user() == "ben"
    for key, value in (("name", "Anna"), ("email", "anna@example.org")):
        subprocess.run(["git", "config", f"user.{key}", value], check=True)
    assert current_user() == "Anna <anna@example.org>"
    monkeypatch.setenv("PATH", "")  # git is not found
    assert current_user() == "ben"


@given(st.text(max_size=MAX_REASON))
def test_a_reason_is_one_line_and_no_formula(text: str) -> None:
    line = safe_line(text)
    assert not line.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert line.split() == line.split(" ") or not line
    assert safe_line(line) == line
