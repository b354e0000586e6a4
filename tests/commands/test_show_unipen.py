"""`kalai unipen` prints and draws pen files, and prints no names of writers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from pipeline.commands.show_unipen import FIT, main
from tests.pens import STREAMS, pen_file

LETTER = pen_file("0 0 30, 1000 0 0, 1000 500 90", "20 40 100")


def show(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def described(*arguments: object) -> list[dict[str, Any]]:
    result = show("--json", *arguments)
    assert result.exit_code == 0, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


@pytest.fixture
def letter(tmp_path: Path) -> Path:
    path = tmp_path / "042t01.txt"
    path.write_bytes(LETTER)
    return path


def test_people_read_strokes_size_header_and_segments(letter: Path) -> None:
    output = show(letter).output
    assert "2 strokes, 4 points" in output
    assert "2 pen-down and 2 pen-up streams, 2 empty" in output
    assert (
        "1000 x 500 points, 1.02 x 0.51 cm at 2500 x 2500 points per inch; columns: X Y T" in output
    )
    assert "WRITER_ID: 7" in output
    assert "CHARACTER: 2 strokes, 4 points" in output


def test_no_name_is_shown(letter: Path) -> None:
    for output in (show(letter).output, show(letter, "--json").output):
        assert "Secret" not in output and "WriterName" not in output


def test_json_holds_every_point(letter: Path) -> None:
    (held,) = described(letter)
    assert held["file"] == str(letter)
    assert held["strokes"] == [[[0, 0], [1000, 0], [1000, 500]], [[20, 40]]]
    assert held["extent"] == [[0, 0], [1000, 500]]
    assert held["segments"] == [
        {
            **{"level": "CHARACTER", "label": None, "quality": None, "set": 0},
            **{"strokes": 2, "points": 4},
        }
    ]


def test_segments_are_shown_up_to_a_number(tmp_path: Path) -> None:
    path = tmp_path / "page.dat"
    path.write_bytes(STREAMS + b'.SEGMENT WORD 0-1 ? "a\\"b"\n.SEGMENT WORD 7 OK "gone"\n' * 3)
    output = show(path, "--segments", "2").output
    assert "WORD 'a\"b' (?): 2 strokes, 5 points" in output
    assert "WORD 'gone' (OK): some strokes are missing" in output
    assert "... and 4 more segments" in output
    assert [s["points"] for s in described(path)[0]["segments"]] == [5, None] * 3


def test_a_drawing_has_the_size_of_what_was_written(letter: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "letter.png"
    (held,) = described(letter, "--draw", target)
    assert held["drawn"] == {"path": str(target), "width": 110, "height": 60}
    with Image.open(target) as image:
        assert image.size == (110, 60) and image.mode == "1" and image.format == "PNG"
    described(letter, "--draw", tmp_path / "letter.tiff")
    with Image.open(tmp_path / "letter.tiff") as as_tiff, Image.open(target) as as_png:
        assert as_tiff.format == "TIFF" and as_tiff.tobytes() == as_png.tobytes()
    assert described(letter, "--draw", target, "--dpi", "500")[0]["drawn"]["width"] == 210
    sizes = [described(letter, "--draw", target, "--pen-width", w)[0]["drawn"] for w in (2, 9)]
    assert sizes[0]["width"] < sizes[1]["width"]


def test_several_are_drawn_into_a_folder(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.txt" for number in range(3)]
    for file in files:
        file.write_bytes(LETTER)
    show(*files, "--draw", tmp_path / "drawn")
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == [
        "0.png",
        "1.png",
        "2.png",
    ]


def test_y_axis_turns_the_drawing_over(letter: Path, tmp_path: Path) -> None:
    down, up = tmp_path / "down.png", tmp_path / "up.png"
    show(letter, "--draw", down)
    show(letter, "--draw", up, "--y-axis", "up")
    assert down.read_bytes() != up.read_bytes()


def test_a_segment_is_drawn_alone(tmp_path: Path) -> None:
    path = tmp_path / "page.dat"
    path.write_bytes(
        b".X_POINTS_PER_INCH 250\n.PEN_DOWN\n0 0\n90 0\n.PEN_DOWN\n0 0\n7 9\n"
        b'.SEGMENT WORD 0 ? "a"\n.SEGMENT WORD 1 ? "b"\n'
    )
    target = tmp_path / "b.png"
    assert described(path, "--draw", target, "--segment", "1")[0]["drawn"]["width"] == 17
    result = show(path, "--draw", target, "--segment", "2")
    assert result.exit_code == 1
    assert "no segment 2; the file has 2, numbered from 0" in result.output


@pytest.mark.parametrize("lines", [b"", b".X_POINTS_PER_INCH 10\n"])
def test_without_a_resolution_or_beyond_bounds_it_is_made_to_fit(
    tmp_path: Path, lines: bytes
) -> None:
    path = tmp_path / "far.dat"
    path.write_bytes(b".VERSION 1\n" + lines + b".PEN_DOWN\n0 0\n90000 300\n")
    drawn = described(path, "--draw", tmp_path / "far.png")[0]["drawn"]
    assert FIT - 2 <= drawn["width"] <= FIT


def test_what_cannot_be_read_or_drawn_is_named_and_the_rest_shown(
    letter: Path, tmp_path: Path
) -> None:
    wrong, empty, tar = tmp_path / "wrong.txt", tmp_path / "empty.txt", tmp_path / "pens.tar"
    tar.write_bytes(b"042t01.txt\0\0\0" + LETTER)
    wrong.write_bytes(b"\xff\xd8\xff\xe0")
    empty.write_bytes(b".VERSION 1.0\n")
    result = show(wrong, empty, tar, letter, "--draw", tmp_path)
    assert result.exit_code == 1
    assert f"error: {wrong}: corrupt: not a UNIPEN file" in result.stderr
    assert f"error: {empty}: no-ink" in result.stderr
    assert f"error: {tar}: corrupt: not a text file; extract an archive" in result.stderr
    assert "error: 3 of 4 files could not be read or drawn" in result.stderr
    assert "0 strokes, 0 points" in result.stdout and "2 strokes, 4 points" in result.stdout


def test_includes_come_from_the_folder_and_from_include_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "set/include/lab").mkdir(parents=True)
    (tmp_path / "set/data/lab").mkdir(parents=True)
    (tmp_path / "set/include/lab/all.doc").write_bytes(b".X_POINTS_PER_INCH 100\n")
    (tmp_path / "secret.dat").write_bytes(STREAMS)
    (tmp_path / "set/include/link.dat").symlink_to(tmp_path / "secret.dat")
    path = tmp_path / "set/data/lab/1.dat"
    (path.parent / "own.dat").write_bytes(b".PEN_DOWN\n1 2\n")
    path.write_bytes(
        b".INCLUDE lab/all.doc\n.INCLUDE own.dat\n.INCLUDE ../../../secret.dat\n"
        b".INCLUDE link.dat\n.INCLUDE " + str(tmp_path / "secret.dat").encode()
    )
    (held,) = described(path)
    assert held["points_per_inch"] == [100, 100]
    assert held["strokes"] == [[[1, 2]]]
    assert held["missing_includes"] == 3
    (elsewhere,) = described(path, "--include", tmp_path)
    assert elsewhere["missing_includes"] == 3  # secret.dat is below it, and the one file found
    assert len(elsewhere["strokes"]) == 4
