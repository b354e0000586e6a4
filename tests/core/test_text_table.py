"""Tables that users make: CSV, TSV and Parquet, all values as text; errors name the file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import PipelineError
from pipeline.core.text_table import Table

CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=8)


@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5))
def test_any_text_that_pandas_writes_is_read(
    rows: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    frame = pd.DataFrame(rows, columns=["a b", "label"])
    frame.to_csv(folder / "t.csv", index=False)
    frame.to_csv(folder / "t.TSV", index=False, sep="\t")
    frame.to_parquet(folder / "t.parquet")
    expected = [[label.strip(), text.strip()] for text, label in rows]
    for name in ("t.csv", "t.TSV", "t.parquet"):
        table = Table(folder / name)
        assert table.columns == ["a b", "label"]
        assert list(table.rows(["label", "a b"])) == expected, name


def test_numbers_and_missing_values_are_text(tmp_path: Path) -> None:
    frame = pd.DataFrame({"label": [7, 8], "share": [0.5, None], "kind": ["x", None]})
    frame["kind"] = frame["kind"].astype("category")
    frame.to_parquet(tmp_path / "t.parquet")
    rows = list(Table(tmp_path / "t.parquet").rows(["label", "share", "kind"]))
    assert rows == [["7", "0.5", "x"], ["8", "", ""]]
    (tmp_path / "t.csv").write_text("label\n007\n", encoding="utf-8")
    assert list(Table(tmp_path / "t.csv").rows(["label"])) == [["007"]]


def test_byte_order_mark_empty_lines_and_rows_of_another_length(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfa,b\r\n1,2\r\n\r\n3\r\n4,5,6\r\n7,8")
    table = Table(tmp_path / "t.csv")
    assert table.columns == ["a", "b"]
    assert list(table.rows(["a"])) == [["1"], None, None, ["7"]]


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("t.xlsx", b"", "allowed extensions: .csv, .tsv, .parquet, .pq"),
        ("absent.csv", None, "file not found; check the name"),
        ("absent.parquet", None, "file not found; check the name"),
        ("t.parquet", b"PAR1 it is not", "cannot be read"),
        ("latin.csv", b"label\nT\xe4nzerin\n", "cannot be read: 'utf-8' codec"),
        ("long.csv", b"label\n" + b"x" * 200_000, "field larger"),
    ],
)
def test_a_table_that_cannot_be_read(
    tmp_path: Path, name: str, data: bytes | None, expected: str
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(PipelineError, match=expected) as caught:
        list(Table(tmp_path / name).rows(["label"]))
    assert name in caught.value.message


def test_a_column_of_structs_is_an_error(tmp_path: Path) -> None:
    pd.DataFrame({"label": [{"a": 1}]}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(PipelineError, match=r"t\.parquet: cannot be read: .*struct"):
        list(Table(tmp_path / "t.parquet").rows(["label"]))
