"""UNIPEN: the rules that real files need, and no names of people in the result."""

from __future__ import annotations

import csv
import re
import tarfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.convert import unipen
from pipeline.convert.pen_file import PenFile, Segment
from pipeline.convert.unipen import finder, parse, write
from pipeline.core.errors import Rejected
from tests.pens import HEADER, STREAMS, pen_file, pens

NAME = "Penmani Tester"


@given(pens())
@settings(deadline=None)
def test_parse_inverts_write(pen: PenFile) -> None:
    assert parse(write(pen)) == pen


TEXTS: dict[str, Callable[[bytes], bytes]] = {
    "crlf": lambda data: data.replace(b"\n", b"\r\n"),
    "lone cr": lambda data: data.replace(b"\n", b"\r"),
    "utf-8 mark": lambda data: b"\xef\xbb\xbf" + data,
    "utf-16": lambda data: data.decode().encode("utf-16"),
    "utf-16 big-endian, marked": lambda data: b"\xfe\xff" + data.decode().encode("utf-16-be"),
    "utf-16 little-endian, bare": lambda data: data.decode().encode("utf-16-le"),
    "utf-16 big-endian, bare": lambda data: data.decode().encode("utf-16-be"),
    "no last line end": lambda data: data.removesuffix(b"\n"),
    "no last pen-up": lambda data: data.removesuffix(b".PEN_UP\n"),
    "tabs": lambda data: data.replace(b" ", b"\t"),
    "wide": lambda data: re.sub(rb"(?m)^(\d+) ", rb"  \1    ", data),
    "eight-bit text": lambda data: data.replace(b"Secret", b"S\xe9cret"),
    "text before the first keyword": lambda data: b"a scan\n" + data,
}


@pytest.mark.parametrize("name", TEXTS)
def test_other_encodings_and_line_ends_give_the_same_content(name: str) -> None:
    plain = pen_file("1 2 30, 3 -4 0, 5 6 31", "7 8 40, 9 10 41")
    dressed = parse(TEXTS[name](plain))
    assert [stroke.tolist() for stroke in dressed.strokes] == [
        [[1, 2], [3, -4], [5, 6]],
        [[7, 8], [9, 10]],
    ]
    assert dressed.header == parse(plain).header
    assert dressed.segments == (Segment("CHARACTER"),)


def test_a_keyword_is_upper_case_and_in_column_0() -> None:
    text = (
        b".VERSION 1.0\n.COMMENT it was\n .PEN_DOWN\n9 9\n.pen_down\n.5 6\n.PEN_DOWN\n1 2\n.5 6\n"
    )
    pen = parse(text)
    assert [stream.points.tolist() for stream in pen.streams] == [[[1, 2], [0.5, 6]]]


def test_points_may_begin_on_the_line_of_the_keyword() -> None:
    assert parse(b".PEN_DOWN 1 2\n3 4\n").strokes[0].tolist() == [[1, 2], [3, 4]]


def test_empty_streams_are_counted_but_have_no_number() -> None:
    pen = parse(b'.PEN_DOWN\n.PEN_DOWN\n1 1\n.PEN_UP\n.PEN_DOWN\n2 2\n.SEGMENT CHARACTER 1 ? "b"\n')
    assert [len(stream.points) for stream in pen.streams] == [0, 1, 0, 1]
    ink = pen.ink(pen.segments[0])
    assert ink is not None and [stroke.tolist() for stroke in ink] == [[[2, 2]]]


def test_pen_up_points_have_a_number_but_no_ink() -> None:
    pen = parse(b'.PEN_DOWN\n1 1\n.PEN_UP\n5 5\n.PEN_DOWN\n2 2\n.SEGMENT WORD 0-2 ? "w"\n')
    ink = pen.ink(pen.segments[0])
    assert ink is not None and [stroke.tolist() for stroke in ink] == [[[1, 1]], [[2, 2]]]
    assert len(pen.strokes) == 2


INK = {
    "": [[0, 1, 2], [0, 1], [0]],
    "1": [[0, 1]],
    "0-1": [[0, 1, 2], [0, 1]],
    "0:1": [[1]],
    "0:1-0:2": [[1, 2]],
    "0:2-2:0": [[2], [0, 1], [0]],
    "0:2,2": [[2], [0]],
    "0:2, 2": [[2], [0]],
    "0:0-0:3": None,
    "3": None,
    "1-0": None,
    "0:2-0:1": None,
    "0-": None,
    "9999999999": None,
}


@pytest.mark.parametrize("delineation", INK)
def test_delineations_are_inclusive(delineation: str) -> None:
    pen = parse(STREAMS + f'.SEGMENT CHARACTER {delineation} OK "x"\n'.encode())
    ink = pen.ink(pen.segments[0])
    assert (ink and [stroke[:, 1].tolist() for stroke in ink]) == INK[delineation]
    assert pen.segments[0].label == "x" and pen.segments[0].quality == "OK"


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (rb'"\""', '"'),
        (rb'"\\"', "\\"),
        (rb'"\@"', "@"),
        (b'"two\nlines"', "two\nlines"),
        ('"கா"'.encode(), "கா"),
        (b'"\xe9"', "é"),
        (b'""', ""),
        (b"", None),
        (b'"open', None),
    ],
)
def test_labels(text: bytes, label: str | None) -> None:
    assert parse(b".SEGMENT CHARACTER 0 ? " + text + b"\n").segments[0].label == label


def test_component_numbers_start_at_0_in_each_set() -> None:
    first, second = b".PEN_DOWN\n1 1\n.SEGMENT WORD 0\n", b".SEGMENT WORD 0\n.PEN_DOWN\n2 2\n"
    pen = parse(b".START_SET\n" + first + b".START_SET\n" + second)
    inks = [pen.ink(segment) for segment in pen.segments]
    assert [ink and ink[0].tolist() for ink in inks] == [[[1, 1]], [[2, 2]]]


def test_coordinates_are_found_by_name() -> None:
    pen = parse(b".COORD T Y X\n.PEN_DOWN\n9 2 1\n")
    assert pen.strokes[0].tolist() == [[1, 2]]
    with pytest.raises(Rejected, match="lacks X or Y"):
        parse(b".COORD T Y\n.PEN_DOWN\n9 2\n")


def test_a_ragged_row_loses_what_is_too_much_and_keeps_what_is_there() -> None:
    pen = parse(b".COORD X Y T\n.PEN_DOWN\n1 2 3 4\n5 6\n7 8 9\n.PEN_UP\n")
    assert pen.strokes[0].tolist() == [[1, 2], [5, 6], [7, 8]]
    assert np.isnan(pen.streams[0].points[1, 2])


def test_rows_that_are_ragged_in_sum_only_are_seen() -> None:
    pen = parse(b".COORD X Y\n.PEN_DOWN\n1 2 3\n4 5\n6 7 8\n.PEN_UP\n")
    assert pen.strokes[0].tolist() == [[1, 2], [4, 5], [6, 7]]
    with pytest.raises(Rejected, match="corrupt: a row of 1 values"):
        parse(b".COORD X Y\n.PEN_DOWN\n1 2 3\n4\n.PEN_UP\n")


_number = st.integers(-99, 99).map(str) | st.sampled_from(["1.5", "-0", "+3", "007", "1e3"])
_row = st.lists(_number, min_size=2, max_size=4)


@given(st.lists(_row, min_size=1), st.sampled_from([" ", "  ", "\t"]), st.sampled_from(["", "\n"]))
@example([["1"] * 3, ["-"] * 3], " ", "")
@settings(deadline=None)
def test_the_quick_way_reads_as_the_slow_one(rows: list[list[str]], gap: str, start: str) -> None:
    text = (start + "\n".join(gap.join(row) for row in rows)).encode()
    columns = ("X", "Y", "T")
    try:
        slow = unipen.points_by_row(text, columns, False)
    except Rejected:
        with pytest.raises(Rejected):
            unipen.points_of(text, columns, False)
        return
    assert np.array_equal(unipen.points_of(text, columns, False), slow, equal_nan=True)


BROKEN = {
    "a picture": (b"\xff\xd8\xff\xe0\0\x10JFIF", "corrupt"),
    "nothing": (b"", "corrupt"),
    "bytes where points were": (
        pen_file().rstrip() + b"\n.PEN_DOWN\n" + bytes(range(128, 256)),
        "corrupt",
    ),
    "a word": (pen_file("1 2 3, 4 five 6"), "corrupt"),
    "not a number": (pen_file("1 2 3, nan 5 6"), "corrupt"),
    "beyond numbers": (pen_file("1 2 3, 1e400 5 6"), "corrupt"),
    "digits without end": (pen_file(f"1 2 3, {'9' * 40} 5 6"), "corrupt"),
    "a NUL": (pen_file("1 2 3, 4\x005 5 6"), "corrupt"),
    "cut within a row": (pen_file("1 2 3, 4 5 6").partition(b" 6")[0], "truncated"),
    "cut after x": (pen_file("1 2 3, 4 5 6").partition(b" 5 6")[0], "truncated"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_has_a_reason(name: str) -> None:
    data, reason = BROKEN[name]
    with pytest.raises(Rejected) as caught:
        parse(data)
    assert caught.value.reason == reason
    assert "\n" not in caught.value.detail and len(caught.value.detail) < 200


FREE_TEXT = ".COMMENT .DATA_CONTACT .DATA_INFO .DATA_SOURCE .WRITER_INFO .SETUP .PAD .LEXICON_INFO"


@pytest.mark.parametrize("keyword", [*FREE_TEXT.split(), *(f".{n}" for n in unipen._HEADER)])
def test_the_reader_returns_no_names(keyword: str) -> None:
    text = f"{HEADER}{keyword} {NAME}\n WriterName:{NAME}\n.PEN_DOWN\n1 2 3\n"
    pen = parse(text.encode())
    assert len(pen.strokes) == 1
    assert "Penmani" not in repr(pen) and "Secret" not in repr(pen)
    assert b"Penmani" not in write(pen)


def test_a_name_as_writer_id_is_a_digest_and_still_tells_writers_apart() -> None:
    ids = [
        parse(f".WRITER_ID {text}\n".encode()).header["WRITER_ID"]
        for text in ("42", NAME, NAME, "Another_Person")
    ]
    assert ids[0] == ("42",)
    assert ids[1] == ids[2] != ids[3]
    assert "Penmani" not in str(ids)


def test_resolution() -> None:
    def resolution(*lines: str) -> tuple[float, float] | None:
        return parse(
            "".join(f".{line}\n" for line in ("VERSION 1.0", *lines)).encode()
        ).points_per_inch

    assert resolution("X_POINTS_PER_INCH 200", "Y_POINTS_PER_INCH 100") == (200, 100)
    assert resolution("X_POINTS_PER_MM\t10", "Y_POINTS_PER_MM 20 ") == (254, 508)
    assert resolution("X_POINTS_PER_INCH 200") == (200, 200)
    assert resolution("X_POINTS_PER_INCH 0") is None
    assert resolution("X_POINTS_PER_INCH ?") is None
    assert resolution() is None


INCLUDING = {
    "data/a.dat": b'.INCLUDE points.txt\n.INCLUDE ../../all.doc\n.SEGMENT CHARACTER 0 ? "a"\n',
    "data/points.txt": b".PEN_DOWN\n1 2 3\n4 5 6\n",
    "include/all.doc": b".COORD X Y T\n.X_POINTS_PER_INCH 100\n",
}


def test_includes_are_found_beside_and_below_the_root_and_coord_may_come_late() -> None:
    pen = parse(INCLUDING["data/a.dat"], finder(INCLUDING), "data/a.dat")
    assert pen.streams[0].columns == ("X", "Y", "T")
    assert pen.strokes[0].tolist() == [[1, 2], [4, 5]]
    assert pen.points_per_inch == (100, 100)
    assert pen.missing == 0


def test_an_include_that_is_not_there_is_counted() -> None:
    assert parse(INCLUDING["data/a.dat"]).missing == 2
    assert parse(b".INCLUDE\n.INCLUDE nothing.doc\n", finder(INCLUDING)).missing == 2


@pytest.mark.parametrize("name", ["/etc/passwd", "../../../etc/passwd", "..\\..\\etc\\passwd"])
def test_nothing_outside_the_archive_is_included(name: str) -> None:
    outside = {"/etc/passwd": b"", "../etc/passwd": b"", "../../../etc/passwd": b""}
    assert finder(INCLUDING | outside)(name, "data/a.dat") is None
    assert finder({"include/etc/passwd": b"ours"})(name, "a") == ("include/etc/passwd", b"ours")


def test_includes_without_end_are_refused() -> None:
    circle = {"include/a": b".VERSION 1\n.INCLUDE a\n"}
    with pytest.raises(Rejected, match=r"corrupt: .*without end"):
        parse(circle["include/a"], finder(circle))
    fan = {"include/a": b".INCLUDE b\n" * 2000, "include/b": b".VERSION 1\n"}
    with pytest.raises(Rejected, match=r"corrupt: .*without end"):
        parse(fan["include/a"], finder(fan))


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 40))
@settings(deadline=None, max_examples=300)
def test_damaged_files_are_read_or_rejected(damage: bytes, start: int, length: int) -> None:
    sound = pen_file("1 2 30, 3 -4 0", "7 8 40") + b'.SEGMENT WORD 0:1-1 OK "a\\"b"\n'
    for data in (damage, sound[:start] + damage + sound[start + length :]):
        try:
            pen = parse(data, finder(INCLUDING), "data/x")
        except Rejected:
            continue
        assert parse(write(pen)) == pen
        for segment in pen.segments:
            ink = pen.ink(segment)
            assert ink is None or all(stroke.shape[1] == 2 and len(stroke) for stroke in ink)


HOSTILE = {
    "streams": b".PEN_DOWN\n1 1\n" * 20_000,
    "empty streams": b".PEN_UP\n" * 30_000,
    "segments": b".SEGMENT A 0\n" * 20_000,
    "spans": b".SEGMENT A 0" + b",0" * 150_000 + b"\n",
    "gaps": b".SEGMENT A 0" + b" ," * 150_000 + b"\n",
    "an open label": b'.SEGMENT A 0 "' + b"\\a" * 150_000,
    "quotes": b".SEGMENT A " + b'"' * 300_000,
    "white space": b".SEGMENT A" + b" " * 300_000 + b"!",
    "columns": b".COORD X Y" + b" T" * 150_000,
    "headers": b"".join(b".AGE %d\n" % n for n in range(30_000)),
    "one long row": b".PEN_DOWN\n" + b"1 " * 150_000,
    "digits": b".PEN_DOWN\n" + b"9" * 300_000 + b" 1\n",
    "dots": b".VERSION 1\n" + b".\n" * 150_000,
    "includes": b".INCLUDE a.doc\n" * 20_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_take_little_time_and_memory(name: str) -> None:
    tracemalloc.start()
    start = time.process_time()
    try:
        parse(HOSTILE[name])
    except Rejected as verdict:
        assert verdict.reason == "corrupt" and len(verdict.detail) < 200
    seconds, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seconds < 10 and peak < 40_000_000, (seconds, peak)


def _read_by_lines(text: str) -> list[list[list[float]]]:
    """Read HP's layout the plainest way."""
    strokes: list[list[list[float]]] = []
    is_down = False
    for line in text.splitlines():
        if line.startswith("."):
            is_down = line.strip() == ".PEN_DOWN"
            strokes += [[]] if is_down else []
        elif is_down and line.strip():
            strokes[-1].append([float(value) for value in line.split()[:2]])
    return strokes


def test_real_files_in_hp_layout(shared: Path) -> None:
    files = [*shared.glob("unipen/lipitk-numerals/*/*.txt"), *shared.glob("unipen/lipitk-words/0*")]
    assert len(files) >= 163
    for file in files:
        pen = parse(file.read_bytes())
        assert [stroke.tolist() for stroke in pen.strokes] == _read_by_lines(file.read_text())
        assert pen.points_per_inch == (2500, 2500)
        assert "REDACTED" not in repr(pen)


def test_the_unipen_corpus_reads_as_its_foundation_reads_it(shared: Path) -> None:
    files: dict[str, bytes] = {}
    with tarfile.open(shared / "unipen/r01-sample.tar.gz") as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file:
                files[member.name.removeprefix("r01/")] = file.read()
    find = finder(files)
    with (shared / "unipen/r01-expected.csv").open() as table:
        expected = list(csv.DictReader(table))
    assert len(expected) == 343
    wrong = [row["file"] for row in expected if _counts(files, find, row["file"]) != row]
    assert wrong == []


def _counts(files: dict[str, bytes], find: unipen.Find, name: str) -> dict[str, str]:
    pen = parse(files[name], find, name)
    inks = [pen.ink(segment) for segment in pen.segments]
    return {
        "file": name,
        "pen_down": str(sum(stream.is_down for stream in pen.streams)),
        "pen_up": str(sum(not stream.is_down for stream in pen.streams)),
        "segments": str(len(pen.segments)),
        "pen_down_points": str(sum(map(len, pen.strokes))),
        "segments_with_ink": str(sum(bool(ink) for ink in inks)),
        "first_label": (pen.segments[0].label or "") if pen.segments else "",
    }
