"""add-dance adds three lines to params.yaml and keeps every other byte."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.commands.add_dance import main, with_dance
from pipeline.core.errors import PipelineError
from pipeline.core.params import load_params
from tests.conftest import ROOT

SHIPPED = (ROOT / "params.yaml").read_text(encoding="utf-8")
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1)


@settings(max_examples=40)  # each parses params.yaml several times
@given(label=WORDS.filter(str.strip), query=WORDS.filter(str.strip))
def test_only_three_lines_are_added_for_any_words(label: str, query: str) -> None:
    result = with_dance(SHIPPED, "odissi", label, [query, "odissi dance"])
    added = [
        line
        for line in difflib.ndiff(SHIPPED.split("\n"), result.split("\n"))
        if line[:2] in ("+ ", "- ")
    ]
    assert len(added) == 3 and all(line.startswith("+ ") for line in added)
    dance = yaml.safe_load(result)["dances"]["odissi"]
    assert dance == {"label": label, "queries": [query, "odissi dance"]}


def test_a_dance_is_added_after_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(SHIPPED, encoding="utf-8")
    for key in ("odissi", "sattriya_dance"):
        result = CliRunner().invoke(main, [key, "--query", f"{key} dance"])
        assert result.exit_code == 0, result.output
        assert result.output.startswith(f"params.yaml: added dances.{key} (")
    dances = load_params(tmp_path / "params.yaml").dances
    assert list(dances)[-2:] == ["odissi", "sattriya_dance"]
    assert dances["sattriya_dance"].label == "Sattriya Dance"
    again = CliRunner().invoke(main, ["odissi", "--query", "x"])
    assert again.exit_code == 1
    assert "dances.odissi exists already" in again.output


@pytest.mark.parametrize("text", [SHIPPED.rstrip("\n"), "\n\n" + SHIPPED])
def test_files_of_other_shapes(text: str) -> None:
    assert "odissi" in yaml.safe_load(with_dance(text, "odissi", "Odissi", ["o"]))["dances"]


def test_a_file_whose_last_section_is_dances() -> None:
    values = yaml.safe_load(SHIPPED)
    values["dances"] = values.pop("dances")
    text = yaml.safe_dump(values, sort_keys=False).rstrip("\n")
    assert "odissi" in yaml.safe_load(with_dance(text, "odissi", "Odissi", ["o"]))["dances"]


@pytest.mark.parametrize(
    ("key", "expected"), [("Odissi", "a-z, 0-9"), ("o.d", "a-z, 0-9"), ("kathak", "exists")]
)
def test_a_bad_key_is_refused(key: str, expected: str) -> None:
    with pytest.raises(PipelineError, match=expected):
        with_dance(SHIPPED, key, "X", ["x"])


def test_a_flow_mapping_is_left_alone() -> None:
    values = yaml.safe_load(SHIPPED)
    dances = values.pop("dances")
    flow = yaml.safe_dump({"dances": dances}, default_flow_style=True).strip()[1:-1]
    with pytest.raises(PipelineError, match="by hand"):
        with_dance(flow + "\n" + yaml.safe_dump(values), "odissi", "Odissi", ["o"])


def test_outside_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["odissi", "--query", "o"])
    assert result.exit_code == 1
    assert "project's root" in result.output
