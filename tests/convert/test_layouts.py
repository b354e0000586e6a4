"""The table of layouts, and the params key that selects one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from pipeline.convert.archive import Letter, read_member
from pipeline.convert.layouts import LAYOUTS, layout_named
from pipeline.convert.stage import main
from pipeline.core.params import Convert
from pipeline.core.tarballs import Member
from tests.archiving import TEST, TRAIN, write_archive
from tests.conftest import ROOT

NAMES = {"hp": ("set/usr_3/042t07.txt", ("set/usr_3/042t07", "042", "3", 7))}
LAYOUT = "convert.tamil.layout"


@pytest.mark.parametrize("name", LAYOUTS)
def test_each_layout_reads_a_name_of_its_own(name: str) -> None:
    member, expected = NAMES[name]
    letter = read_member(
        layout_named(name, "tamil")(Path("a.tar.gz")), Member(member, b"", None, 0)
    )
    assert isinstance(letter, Letter) and letter[:4] == expected


def test_each_layout_is_documented() -> None:
    text = (ROOT / "docs/handwriting.md").read_text(encoding="utf-8")
    assert [name for name in LAYOUTS if f"`{name}`" not in text] == []


def test_params_without_a_layout_mean_hp() -> None:
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert "layout" not in shipped["convert"]["tamil"]
    assert Convert(**shipped["convert"]["tamil"]).layout == "hp"


@pytest.fixture
def convert_as(project: Callable[..., Path]) -> Callable[[str], Result]:
    """Give a function that converts two small archives with a layout set in params.yaml."""

    def convert(layout: str) -> Result:
        folder = project(**{"fetch.tamil.source": "online", LAYOUT: layout})
        for part, members in (("train", TRAIN), ("test", TEST)):
            write_archive(folder / f"data/tamil/archives/online-{part}.tar.gz", members)
        return CliRunner().invoke(main, ["tamil"])

    return convert


def test_params_name_the_layout(convert_as: Callable[[str], Result]) -> None:
    result = convert_as("hp")
    assert result.exit_code == 0 and result.output.endswith("8 samples, 1 rejected\n")


def test_an_unknown_layout_is_an_error(convert_as: Callable[[str], Result]) -> None:
    result = convert_as("lipi")
    assert result.exit_code == 1
    assert result.output == (
        "error: params.yaml: convert.tamil.layout: unknown layout 'lipi'; allowed: hp\n"
    )
