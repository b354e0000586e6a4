"""`kalai decide`: an import is all or nothing, an error names its line, a step is undone whole."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from pipeline.commands.decide import main
from pipeline.dataset.decision_steps import active_decisions, steps, undo
from pipeline.dataset.decisions import (
    MAX_REASON,
    Decision,
    append_decisions,
    current_user,
    read_decisions,
    safe_line,
    verdicts,
)
from tests.tables import content, sample, write

PATH = Path("data/birds/decisions.csv")
TIME = "2024-05-01T12:00:00.000+00:00"


@pytest.fixture
def birds(project: Callable[..., Path]) -> Path:
    """Enter a project with a dataset of three pictures, one under two names."""
    root = project()
    subprocess.run(["git", "init", "-q"], check=True)
    for key, value in (("name", "Anna"), ("email", "anna@example.org")):
        subprocess.run(["git", "config", f"user.{key}", value], check=True)
    twice = sample("two", "owl", content_id=content("one"))
    write("birds", [sample("one", "jay"), twice, sample("three", "owl"), sample("four", "jay")])
    return root


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["birds", *arguments])


def imported(text: str | bytes) -> Result:
    data = text if isinstance(text, bytes) else text.encode()
    Path("in.csv").write_bytes(data)
    return run("--import", "in.csv")


def test_an_import_by_either_id_is_read_as_decided_here(birds: Path) -> None:
    result = imported(
        f"reason,sample_id,content_id,action,label\r\n"
        f'"blurred, and\nsmall",jay/one,,delete,\r\n'
        f",,{content('three')},relabel,jay\r\n"
        f"=1+1, owl/three ,, keeper ,\r\n"
    )
    assert result.exit_code == 0, result.output
    assert "added 3 decisions" in result.output
    found = read_decisions(PATH)
    assert [(each.content_id, each.action, each.label, each.reason) for each in found] == [
        (content("one"), "delete", "", "blurred, and small"),
        (content("three"), "relabel", "jay", ""),
        (content("three"), "keeper", "", "'=1+1"),
    ]
    assert {each.who for each in found} == {"Anna <anna@example.org>"}
    assert len({each.time for each in found}) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "in.csv:1: the file is empty"),
        ("sample_id,acton\n", "in.csv:1: unknown column 'acton'; allowed: content_id, sample_id"),
        ("sample_id\njay/one\n", "in.csv:1: expected a column action and content_id or sample_id"),
        ("action\nkeep\n", "in.csv:1: expected a column action and"),
        ("action,action,sample_id\n", "in.csv:1: expected a column action and"),
        (
            "sample_id,action\njay/one,keep\njay/one,delet\n",
            "in.csv:3: unknown action 'delet'; allowed: keep, delete",
        ),
        ("sample_id,action\njay/one\n", "in.csv:2: expected 2 columns, found 1"),
        ("sample_id,action\njay/nine,keep\n", "in.csv:2: unknown sample_id 'jay/nine'"),
        ("sample_id,action\n,keep\n", "in.csv:2: both content_id and sample_id are empty"),
        ("content_id,action\n../../x,keep\n", "in.csv:2: content_id '../../x' is not 64"),
        (f"content_id,action\n{'0' * 64},keep\n", "in.csv:2: no sample has content_id 0000"),
        (
            "sample_id,action,label\njay/one,relabel,emu\n",
            "in.csv:2: unknown label 'emu'; known: jay, owl",
        ),
        ("sample_id,action,label\njay/one,relabel,\n", "in.csv:2: action relabel needs a label"),
        (
            "sample_id,action,label\njay/one,keep,owl\n",
            "in.csv:2: action keep takes no label, found 'owl'",
        ),
        ('sample_id,action\njay/one,keep\n\n"jay/one,keep\n', "in.csv:4: "),
        ("sample_id,action\njay/one,undo\n", "in.csv: undo: image"),
        (
            f"sample_id,action,reason\njay/one,keep,{'x' * 501}\n",
            "in.csv:2: reason has 501 characters",
        ),
        ("sample_id,action\njay/öne,keep\n".encode("latin-1"), "in.csv: not UTF-8"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_taken(
    birds: Path, text: str | bytes, says: str
) -> None:
    assert imported("sample_id,action\nowl/three,keep\n").exit_code == 0
    before = PATH.read_bytes()
    result = imported(text)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {says}"), result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert PATH.read_bytes() == before


def test_what_was_decided_at_once_is_taken_back_at_once(birds: Path) -> None:
    assert run("--undo").stderr == f"error: {PATH}: cannot undo 1 steps; it has 0\n"
    imported("sample_id,action\njay/one,delete\nowl/three,delete\n")
    imported("sample_id,action\njay/one,keep\njay/four,delete\n")
    before = PATH.read_bytes()
    listed = run("--list").output
    assert listed.endswith("birds: 4 decisions in force, made in 2 steps\n")
    assert f"{content('one')[:16]}  keep" in listed
    assert PATH.read_bytes() == before
    result = run("--undo")
    assert result.output.startswith("undone: keep 1, delete 1 (")
    found = verdicts(read_decisions(PATH))
    assert {name: verdict.action for name, verdict in found.items()} == {
        content("one"): "delete",
        content("three"): "delete",
    }
    assert run("--undo", "2").exit_code == 1
    assert run("--undo", "1").exit_code == 0
    assert verdicts(read_decisions(PATH)) == {}
    assert PATH.read_bytes().startswith(before), "a line is never changed"


def test_one_thing_at_a_time(birds: Path) -> None:
    for arguments in ([], ["--list", "--undo"], ["--undo", "0"]):
        assert run(*arguments).exit_code == 2
    unknown = CliRunner().invoke(main, ["emus", "--list"])
    assert unknown.stderr == ("error: unknown dataset 'emus'; this project has: dances, tamil\n")


def test_who_decides_is_said_though_git_knows_nobody(
    birds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert current_user() == "Anna <anna@example.org>"
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")
    subprocess.run(["git", "config", "--remove-section", "user"], check=True)
    monkeypatch.setenv("LOGNAME", "ben")
    assert current_user() == "ben"
    monkeypatch.setenv("PATH", "")
    assert current_user() == "ben"


ACTIONS = st.tuples(st.sampled_from(["keep", "delete", "keeper"]), st.integers(0, 3))


def made(groups: Sequence[Sequence[tuple[str, int]]]) -> list[Decision]:
    """Return decisions in steps, a second apart."""
    return [
        Decision(f"2024-05-01T12:00:{second:02}+00:00", f"{number:064x}", action)
        for second, group in enumerate(groups)
        for action, number in group
    ]


@given(st.lists(st.lists(ACTIONS, min_size=1, max_size=4), max_size=6), st.data())
def test_undoing_steps_leaves_what_was_before_them(
    groups: list[list[tuple[str, int]]], data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, len(groups)))
    decisions = made(groups)
    done = steps(decisions)
    assert len(done) == len(groups)
    assert active_decisions(decisions) == decisions
    left = len(groups) - count
    after = [*decisions, *undo(done[left:], TIME, "")]
    assert active_decisions(after) == made(groups[:left])
    assert verdicts(after) == verdicts(made(groups[:left]))


@given(st.text())
def test_a_reason_is_one_line_and_no_formula(text: str) -> None:
    if len(" ".join(text.split())) > MAX_REASON:
        return
    said = safe_line(text)
    assert not said.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert said.split() == said.split(" ") or not said
    assert safe_line(said) == said


def test_a_file_that_moved_meanwhile_is_said(birds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported("sample_id,action\njay/one,delete\n")

    def slow() -> str:  # somebody decides between reading and writing
        append_decisions(PATH, [Decision(TIME, content("three"), "keep")])
        return TIME

    monkeypatch.setattr("pipeline.commands.decide.now", slow)
    result = run("--undo")
    assert result.stderr == f"error: {PATH}: changed while undoing; see --list and try again\n"
    assert [each.action for each in read_decisions(PATH)] == ["delete", "keep"]
