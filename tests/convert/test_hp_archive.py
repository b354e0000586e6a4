"""HP's layout: names give class, trial and writer; labels.txt gives the classes of a test part."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.convert.archive import Letter, Skipped, read_member, walk
from pipeline.convert.hp_archive import HpLayout
from pipeline.core.errors import PipelineError, Rejected
from pipeline.core.tarballs import Member
from tests.archiving import APPLE_DOUBLE, write_archive

ARCHIVE = Path("offline-train.tar.gz")


def letter_of(name: str, data: bytes = b"x", rejected: Rejected | None = None) -> Letter | Skipped:
    return read_member(HpLayout(ARCHIVE), Member(name, data, rejected, 0))


def test_a_name_gives_class_trial_and_writer() -> None:
    letter = letter_of("tamil_iso_char/usr_16/042t07.txt")
    assert letter == Letter(
        *("tamil_iso_char/usr_16/042t07", "042", "16", 7),
        *("offline-train.tar.gz:tamil_iso_char/usr_16/042t07.txt", b"x"),
    )


@pytest.mark.parametrize(
    ("name", "writer"),
    [("usr_9/001t01.tiff", "9"), ("usr12/001t01", "12"), ("USR_3/001t01.x", "3")],
)
def test_a_folder_of_any_spelling_names_the_writer(name: str, writer: str) -> None:
    letter = letter_of(name)
    assert isinstance(letter, Letter) and letter.group == writer


@pytest.mark.parametrize("name", ["001t01.txt", "letters/001t01.txt", "Penmani/001t01.txt"])
def test_a_folder_without_a_number_names_no_writer(name: str) -> None:
    letter = letter_of(name)
    assert isinstance(letter, Letter) and letter.group is None


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("usr_1/._001t01.txt", b"", "apple-double"),
        ("__MACOSX/usr_1/._001t01.txt", APPLE_DOUBLE, "apple-double"),
        ("usr_1/001t01.txt", APPLE_DOUBLE, "apple-double"),
        ("test/labels.txt", b"", "labels"),
        ("README", b"", "other"),
        ("usr_1/.DS_Store", b"", "other"),
        ("usr_1/001x01.txt", b"", "other"),
    ],
)
def test_a_member_that_is_no_letter_is_skipped(name: str, data: bytes, reason: str) -> None:
    assert letter_of(name, data) == Skipped(reason)


def test_an_unsafe_member_is_rejected() -> None:
    with pytest.raises(Rejected, match="hostile-member: a symbolic link"):
        letter_of("usr_1/001t01.txt", b"", Rejected("hostile-member", "a symbolic link"))


NUMBERED = [("test/00000.tiff", b"a"), ("test/00001.tiff", b"b"), ("test/00002.tiff", b"c")]
LABELS = ("test/labels.txt", b"00000 098\r\n\n00001\t108\n")


@pytest.mark.parametrize("place", range(4))
def test_labels_may_come_anywhere(tmp_path: Path, place: int) -> None:
    members = [*NUMBERED[:place], LABELS, *NUMBERED[place:]]
    path = write_archive(tmp_path / "offline-test.tar.gz", members)
    layout = HpLayout(path)
    found = {}
    for member in walk(path):
        try:
            letter = read_member(layout, member)
        except Rejected as rejection:
            found[member.name] = str(rejection)
            continue
        if isinstance(letter, Letter):
            found[letter.sample_id] = letter.class_id
    assert found == {
        "test/00000": "098",
        "test/00001": "108",
        "test/00002.tiff": "unlabelled: labels.txt does not name it",
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"00000 098\n00001\n", "line 2: expected a sample id and a class, found '00001'"),
        (b"00000 098 7\n", "line 1: expected a sample id and a class"),
        (b"00000 098\n00000 099\n", "line 2: 00000 has two different classes"),
    ],
)
def test_a_wrong_line_of_labels_is_an_error(tmp_path: Path, text: bytes, complaint: str) -> None:
    path = write_archive(tmp_path / "t.tar.gz", [("test/labels.txt", text), *NUMBERED])
    with pytest.raises(PipelineError, match=complaint):
        HpLayout(path).class_of("test/00000")
