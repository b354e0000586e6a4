"""A change is worded with its size, its direction and a verdict if one direction is better."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.report.blocks import Cell, Number, Table
from pipeline.report.changes import change, compared


def share(value: float, better: Any = "higher", *ends: float) -> Number:
    return Number(value, "share", better, *ends)


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (share(0.5), share(0.6), "better: 10.0 points higher"),
        (share(0.6), share(0.5), "worse: 10.0 points lower"),
        (share(0.3, "lower"), share(0.2, "lower"), "better: 10.0 points lower"),
        (share(0.5), share(0.52, "higher", 0.4, 0.6),
         "2.0 points higher, within the 95% CI"),
        (share(0.5), share(0.50001), "about the same"),
        (Number(7), Number(9), "2 more"),
        (Number(9), Number(7), "2 fewer"),
        (Number(1.5, "loss", "lower"), Number(1.25, "loss", "lower"), "better: 0.250 lower"),
        (Number(3e-4, "plain"), Number(1e-4, "plain"), "0.0002 lower"),
        ("all", "head", "changed"),
        (Number(7), Number(7), "no change"),
        (None, Number(7), "new"),
        (Number(None), Number(7), "new"),
        (Number(7), None, "removed"),
    ],
)  # fmt: skip
def test_a_change_in_words(before: Cell | None, now: Cell | None, words: str) -> None:
    found = change(before, now)
    assert str(found) == words
    assert found.verdict == (words.partition(":")[0] if ":" in words else "")


def test_cells_are_matched_by_row_and_column() -> None:
    header = ("part", "samples", "how")
    old = Table("Parts", header, [("train", Number(5), "x"), ("gone", Number(1), "y")])
    new = Table("Parts", header, [("train", Number(6), "x")])
    [both] = compared([old], [new], "v1")
    assert isinstance(both, Table) and both.header == ("part", "v1", "now", "change")
    assert [[str(cell) for cell in row] for row in both.rows] == [
        ["train, samples", "5", "6", "1 more"],
        ["train, how", "x", "x", "no change"],
        ["gone, samples", "1", "–", "removed"],
        ["gone, how", "y", "–", "removed"],
    ]
    words_only = Table("Archives", ("archive", "source"), [("a", "b")])
    assert compared([], [words_only], "v1") == [words_only]


def test_a_table_without_a_change_is_folded() -> None:
    table = Table("Sets", ("set", "samples"), [("training set", Number(5))])
    [folded] = compared([table], [table], "v1")
    assert isinstance(folded, Table) and folded.is_folded
    assert (folded.caption, folded.rows) == ("Sets: no change since v1", table.rows)
