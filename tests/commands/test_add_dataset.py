"""add-dataset adds an entry to each section that needs one, and keeps the rest of params.yaml."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from pipeline.commands.add_dataset import main
from pipeline.core.params import load_params
from pipeline.core.params_edit import entry_like, scalar, with_entry
from pipeline.dataset.decisions import read_decisions
from tests.conftest import ROOT
from tests.tables import lay

SHIPPED = (ROOT / "params.yaml").read_text(encoding="utf-8")


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a project with the shipped params."""
    (tmp_path / "params.yaml").write_text(SHIPPED, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def add(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_a_folder_of_classes(at: Path) -> None:
    lay(at, {"my birds/wren/1.jpg": b"x", "my birds/owl/2.jpg": b"x", "my birds/owl/3.jpg": b"x"})
    result = add("birds", "my birds")
    assert result.exit_code == 0, result.output
    assert "params.yaml: added birds: 3 images of 2 classes" in result.output
    params = load_params(at / "params.yaml")
    assert (params.folder["birds"].path, params.folder["birds"].layout) == ("my birds", "class")
    assert params.dedupe["birds"] == params.dedupe["dances"]
    assert params.train["birds"] == params.train["dances"]
    assert params.evaluate["birds"] == params.evaluate["dances"]
    assert (params.split["birds"].method, params.split["birds"].test) == ("group", 0.15)
    assert params.split["birds"].group_column is None
    assert read_decisions(at / "data/birds/decisions.csv") == []
    assert (at / "data/birds/decisions.csv").read_text().startswith("time,content_id,action")
    text = (at / "params.yaml").read_text(encoding="utf-8")
    lines = list(difflib.ndiff(SHIPPED.splitlines(), text.splitlines()))
    removed = [line for line in lines if line.startswith("- ")]
    assert [line[2:].split("#")[0].split() for line in removed] == [["folder:", "{}"]]
    added = [line[2:] for line in lines if line.startswith("+ ")]
    assert "    remove_within: 6     # Hamming distance" in "\n".join(added)  # with its comment
    again = add("birds", "my birds")
    assert again.exit_code == 1
    assert "birds exists already" in again.output
    assert add("more-birds", "my birds").exit_code == 0
    assert list(load_params(at / "params.yaml").folder) == ["birds", "more-birds"]


def test_published_parts_are_kept(at: Path) -> None:
    lay(at, {"b/train/wren/1.jpg": b"x", "b/test/wren/2.jpg": b"x", "b/val/owl/3.jpg": b"x"})
    assert add("birds", "b").exit_code == 0
    params = load_params(at / "params.yaml")
    assert params.folder["birds"].layout == "part/class"
    assert (params.split["birds"].method, params.split["birds"].test) == ("official", 0)


def test_a_table_with_other_column_names(at: Path) -> None:
    lay(at, {"b/t.csv": b"photo,species: common,by\n1.jpg,wren,Ann\n"})
    result = add(
        "birds", "b", "--table", "t.csv", "--like", "tamil",
        "--column", "image=photo", "--column", "label=species: common", "--column", "group=by",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    params = load_params(at / "params.yaml")
    assert params.folder["birds"].table == "t.csv"
    assert params.folder["birds"].columns == {
        "image": "photo",
        "label": "species: common",
        "group": "by",
    }
    assert params.dedupe["birds"].method == "exact"
    assert params.train["birds"] == params.train["tamil"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["Birds", "b"], "found key 'Birds'; expected only a-z"),
        (["dances", "b"], "dances exists already"),
        (["birds", "empty"], "empty: contains no images; expected empty/<class>/<image>"),
        (
            ["birds", "b", "--like", "cats"],
            "error: unknown dataset 'cats'; this project has: dances, tamil",
        ),
        (["birds", "b", "--table", "t.csv"], "t.csv: file not found; check the name of the table"),
        (["birds", "b", "--table", "../t.csv"], "expected a file inside the folder"),
        (["birds", "b", "--column", "label=x"], "table is null"),
        (
            ["birds", "b", "--column", "lable=x"],
            "--column lable=x: expected OURS=THEIRS; OURS is one of: image, label",
        ),
        (["birds", "."], ".: contains data/birds, where kalai writes"),
    ],
)
def test_an_error_changes_nothing(at: Path, arguments: list[str], expected: str) -> None:
    lay(at, {"b/wren/1.jpg": b"x"})
    (at / "empty").mkdir()
    result = add(*arguments)
    assert result.exit_code == 1
    assert expected in result.output
    assert (at / "params.yaml").read_text(encoding="utf-8") == SHIPPED
    assert not (at / "data").exists()


@pytest.mark.parametrize("section", ["dances: {}  # none", "dances:\n  a: 1   # one\n# end"])
@pytest.mark.parametrize("end", ["", "\n", "\n\nnext: 1\n"])
def test_an_entry_goes_to_the_end_of_its_section(
    section: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.core.params_edit.validate", lambda values: None)
    result = with_entry(section + end, "dances", "b:\n  c: [1, 2]   # why\n")
    before = yaml.safe_load(section + end)
    assert yaml.safe_load(result) == {**before, "dances": {**before["dances"], "b": {"c": [1, 2]}}}
    for comment in ("# none", "# one", "# end", "# why"):
        assert (comment in result) == (comment in section or comment == "# why")


def test_an_entry_is_copied_as_it_is_written() -> None:
    text = "s:\n    a:\n        # before\n        x: 1   # why\n    b: {y: 2}   # short\n"
    assert entry_like(text, "s", "a", "new") == "new:\n    # before\n    x: 1   # why\n"
    assert entry_like(text, "s", "b", "new") == "new: {y: 2}   # short\n"


@pytest.mark.parametrize(
    "text", ["plain words", "yes", "12", "1e3", "", " x", "a: b", "#", "கா", "a\u2028b", "😀", '"\\']
)
def test_a_scalar_is_what_it_was_on_one_line(text: str) -> None:
    assert yaml.safe_load(f"k: {scalar(text)}") == {"k": text}
    assert len(scalar(text).splitlines()) == 1
    assert scalar("plain words") == "plain words"
