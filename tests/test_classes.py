"""Class tables: the one that ships is right, and any other is judged in one line."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from pipeline.classes import LetterClass, class_table
from pipeline.errors import PipelineError


def test_the_tamil_table_has_156_letters() -> None:
    table = class_table("tamil")
    assert list(table) == [f"{number:03}" for number in range(156)]
    assert table["042"] == LetterClass("042", "நி", "ni")
    assert len({letter.unicode for letter in table.values()}) == 156
    assert all(unicodedata.is_normalized("NFC", letter.unicode) for letter in table.values())


def test_the_tamil_table_is_the_one_that_was_checked(shared: Path) -> None:
    shipped = Path(__file__).parent.parent / "pipeline" / "tamil_classes.csv"
    assert shipped.read_bytes() == (shared / "tamil/tamil_classes.csv").read_bytes()


def test_a_path_is_read_with_any_further_columns(tmp_path: Path) -> None:
    path = tmp_path / "numerals.csv"
    path.write_text("\ufeffiso15919,class_id,note,unicode\n1,000,one,௧\n,001,,e\u0301\n", "utf-8")
    assert class_table(str(path)) == {
        "000": LetterClass("000", "௧", "1"),
        "001": LetterClass("001", "é", ""),
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("class_id,unicode\n000,x\n", "lacks the column iso15919"),
        ("class_id,unicode,iso15919\n", "is empty"),
        ("", "lacks the column class_id"),
        ("class_id,unicode,iso15919\n000,x,x\n000,y,y\n", "line 3: 000 stands there twice"),
        ("class_id,unicode,iso15919\n000,,x\n", "line 2: class_id or unicode is empty"),
        ("class_id,unicode,iso15919\n000\n", "line 2: class_id or unicode is empty"),
    ],
)
def test_a_wrong_table_says_what_and_where(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(PipelineError, match=complaint):
        class_table(str(path))


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="no class table 'klingon' ships with kalai"):
        class_table("klingon")
    with pytest.raises(PipelineError, match=r"nowhere\.csv: not a class table"):
        class_table(str(tmp_path / "nowhere.csv"))
    (tmp_path / "latin.csv").write_bytes(b"class_id,unicode,iso15919\n0,\xe9,e\n")
    with pytest.raises(PipelineError, match="not a class table"):
        class_table(str(tmp_path / "latin.csv"))
