"""`kalai decide`: an import is all or nothing, an error names its line, a step is undone whole."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.commands.decide import main
from pipeline.dataset.decisions import (
    Decision,
    append_decisions,
    read_decisions,
    verdicts,
)
from tests.tables import content, sample, write

PATH = Path("data/birds/decisions.csv")
TIME = "2024-05-01T12:00:00.000+00:00"


@pytest.fixture
def birds(project: Callable[..., Path]) -> Path:
    """Enter a project with a dataset of three images, one with two labels."""
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


def test_an_import_by_either_id_has_the_time_and_the_user(birds: Path) -> None:
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
    ("text", "expected"),
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
def test_an_invalid_line_is_named_and_nothing_is_imported(
    birds: Path, text: str | bytes, expected: str
) -> None:
    assert imported("sample_id,action\nowl/three,keep\n").exit_code == 0
    before = PATH.read_bytes()
    result = imported(text)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {expected}"), result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert PATH.read_bytes() == before


def test_an_import_is_undone_as_one_step(birds: Path) -> None:
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


def test_exactly_one_option_is_required(birds: Path) -> None:
    for arguments in ([], ["--list", "--undo"], ["--undo", "0"]):
        assert run(*arguments).exit_code == 2
    unknown = CliRunner().invoke(main, ["emus", "--list"])
    assert unknown.stderr == "error: unknown dataset 'emus'; this project has: dances, tamil\n"


def test_a_decision_made_during_an_undo_stops_it(
    birds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported("sample_id,action\njay/one,delete\n")

    def slow() -> str:  # a decision is added between reading and writing
        append_decisions(PATH, [Decision(TIME, content("three"), "keep")])
        return TIME

    monkeypatch.setattr("pipeline.commands.decide.now", slow)
    result = run("--undo")
    assert result.stderr == f"error: {PATH}: changed while undoing; see --list and try again\n"
    assert [each.action for each in read_decisions(PATH)] == ["delete", "keep"]
