"""A name is drawn in letters that this machine has; every font is asked for each word."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.charts import fonts
from pipeline.charts.figure import drawing
from tests.drawings import drawn_in

pytestmark = pytest.mark.filterwarnings("error")  # matplotlib warns of a missing glyph


@pytest.mark.usefixtures("no_fonts")
def test_a_name_is_drawn_in_letters_that_there_are() -> None:
    assert fonts.tick("042", "கா", "kā") == "kā"
    assert fonts.tick("042", "கா") == "042"
    assert fonts.tick("கா", "கா") == r"\u0b95\u0bbe"
    assert fonts.tick("kathak", "Kathak") == "Kathak"
    assert fonts.both("042", "கா", "kā") == "kā"
    assert fonts.drawable(None, "a\nb", "கா") == ""
    assert fonts.families(["கா", "ab"]) == [fonts.OWN]


def test_a_long_name_is_cut() -> None:
    assert fonts.tick("a", "a name that is longer than a tick") == "a name that is longer than …"


def test_a_name_that_no_font_draws_gives_way_to_the_label(no_fonts: None) -> None:
    assert fonts.tick("label", "\U0010ffff smile") == "label"
    assert fonts.tick("label", "a\nb") == "label"


def test_a_font_of_the_system_draws_what_matplotlibs_own_lacks(tmp_path: Path) -> None:
    if fonts.font_for("கா") is None:
        pytest.skip("no font with Tamil letters here, or no libraqm")
    assert fonts.tick("042", "கா", "kā") == "கா"
    assert fonts.both("042", "கா", "kā") == "கா kā"
    own, other = fonts.families(["கா kā"])
    assert own == fonts.OWN and other != own
    pieces = list(fonts.runs("கா kā as b"))
    assert [text for text, _ in pieces] == ["கா ", "kā as b "]
    path = tmp_path / "letters.png"
    for text in ("", "கெ"):  # the vowel sign goes before: no letter is missing
        with drawing(path, (2, 1), ["கெ"]) as figure:
            figure.text(0, 0, text)
        assert (drawn_in(path, "black") > 20) == bool(text)
