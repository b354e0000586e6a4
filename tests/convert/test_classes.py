"""Class tables: the shipped one is right, and an error in another is one line."""

from __future__ import annotations

import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.convert.classes import TAMIL, LetterClass, class_table
from pipeline.core.errors import PipelineError
from pipeline.demo.scratch import Scratch
from tests.archiving import write_archive
from tests.conftest import ROOT
from tests.pens import pen_file


def test_the_tamil_table_has_156_letters() -> None:
    table = class_table(TAMIL)
    assert list(table) == [f"{number:03}" for number in range(156)]
    assert table["042"] == LetterClass("042", "நி", "ni")
    assert len({letter.unicode for letter in table.values()}) == 156
    assert all(unicodedata.is_normalized("NFC", letter.unicode) for letter in table.values())


def test_the_tamil_table_is_the_one_that_was_checked(shared: Path) -> None:
    assert TAMIL.read_bytes() == (shared / "tamil/tamil_classes.csv").read_bytes()


def test_a_table_may_have_further_columns(tmp_path: Path) -> None:
    path = tmp_path / "numerals.csv"
    path.write_text("\ufeffiso15919,class_id,note,unicode\n1,000,one,௧\n,001,,e\u0301\n", "utf-8")
    assert class_table(path) == {
        "000": LetterClass("000", "௧", "1"),
        "001": LetterClass("001", "é", ""),
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("class_id,unicode\n000,x\n", "no column 'iso15919'; it needs class_id, unicode, iso15919"),
        ("class_id,unicode,iso15919\n", "class table is empty"),
        ("", "no column 'class_id'"),
        ("class_id,unicode,iso15919\n000,x,x\n000,y,y\n", "line 3: class_id '000' is repeated"),
        ("class_id,unicode,iso15919\n000,,x\n", "line 2: class_id or unicode is empty"),
        ("class_id,unicode,iso15919\n000\n", "line 2: class_id or unicode is empty"),
    ],
)
def test_an_error_names_the_file_and_line(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(PipelineError, match=complaint):
        class_table(path)


def test_a_table_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"nowhere\.csv: class table not found; set convert\."):
        class_table(tmp_path / "nowhere.csv")
    (tmp_path / "latin.csv").write_bytes(b"class_id,unicode,iso15919\n0,\xe9,e\n")
    with pytest.raises(PipelineError, match=r"latin\.csv: class table is not UTF-8"):
        class_table(tmp_path / "latin.csv")


@pytest.mark.slow
def test_dvc_converts_again_after_a_change_of_the_class_table(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "project")
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    archive = {"train": {"url": "train.tar.gz", "sha256": None}}
    params["fetch"]["digits"] = {"source": "online", "archives": {"online": archive}}
    params["convert"]["digits"] = {"classes": "digits.csv"}
    scratch.create(params)
    write_archive(scratch.root / "train.tar.gz", [("usr_1/000t01.txt", pen_file("0 0 0, 900 9 0"))])

    def dvc(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *command],
            cwd=scratch.root,
            env=scratch.env,
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def called(name: str) -> list[str]:
        table = scratch.root / "digits.csv"
        table.write_text(f"class_id,unicode,iso15919\n000,{name},0\n", encoding="utf-8")
        ran = re.findall(r"Running stage '([^']+)'", dvc("repro", "convert@digits"))
        rows = pq.read_table(scratch.root / "data/digits/samples.parquet").to_pylist()
        assert [row["label_name"] for row in rows] == [name]
        return ran

    assert called("௦") == ["fetch@digits", "convert@digits"]
    assert called("०") == ["convert@digits"]
    (scratch.root / "digits.csv").write_text("class_id,unicode,iso15919\n000,0,0\n")
    assert re.search(r"modified:\s+digits\.csv", dvc("status", "convert@digits"))
