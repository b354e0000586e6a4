"""HP's layout: what names and labels.txt say, and a choice that no order changes."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.convert.hp_archive import Labels, Letter, choose, letter_of, walk
from pipeline.core.errors import PipelineError, Rejected
from pipeline.core.tarballs import Member
from tests.archiving import APPLE_DOUBLE, write_archive

ARCHIVE = Path("offline-train.tar.gz")


def look_at(name: str, data: bytes = b"x", rejected: Rejected | None = None) -> Letter | str:
    return letter_of(Member(name, data, rejected, 0), ARCHIVE, Labels(ARCHIVE))


def test_a_name_says_class_trial_and_writer() -> None:
    letter = look_at("tamil_iso_char/usr_16/042t07.txt")
    assert letter == Letter(
        *("tamil_iso_char/usr_16/042t07", "042", "16", 7),
        *("offline-train.tar.gz:tamil_iso_char/usr_16/042t07.txt", b"x"),
    )


@pytest.mark.parametrize(
    ("name", "writer"),
    [("usr_9/001t01.tiff", "9"), ("usr12/001t01", "12"), ("USR_3/001t01.x", "3")],
)
def test_writers_are_found_however_folders_are_spelt(name: str, writer: str) -> None:
    letter = look_at(name)
    assert isinstance(letter, Letter) and letter.group == writer


@pytest.mark.parametrize("name", ["001t01.txt", "letters/001t01.txt", "Penmani/001t01.txt"])
def test_a_folder_that_is_no_number_is_no_writer(name: str) -> None:
    letter = look_at(name)
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
def test_what_is_no_letter_is_passed_over(name: str, data: bytes, reason: str) -> None:
    assert look_at(name, data) == reason


def test_what_the_walk_found_hostile_stays_so() -> None:
    with pytest.raises(Rejected, match="hostile-member: a symbolic link"):
        look_at("usr_1/001t01.txt", b"", Rejected("hostile-member", "a symbolic link"))


NUMBERED = [("test/00000.tiff", b"a"), ("test/00001.tiff", b"b"), ("test/00002.tiff", b"c")]
LABELS = ("test/labels.txt", b"00000 098\r\n\n00001\t108\n")


@pytest.mark.parametrize("place", range(4))
def test_labels_may_come_anywhere(tmp_path: Path, place: int) -> None:
    members = [*NUMBERED[:place], LABELS, *NUMBERED[place:]]
    path = write_archive(tmp_path / "offline-test.tar.gz", members)
    labels = Labels(path)
    found = {}
    for member in walk(path):
        try:
            letter = letter_of(member, path, labels)
        except Rejected as verdict:
            found[member.name] = str(verdict)
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
        (b"00000 098\n00001\n", "line 2: expected an id and a class, found '00001'"),
        (b"00000 098 7\n", "line 1: expected an id and a class"),
        (b"00000 098\n00000 099\n", "line 2: 00000 has two classes"),
    ],
)
def test_wrong_labels_stop_everything(tmp_path: Path, text: bytes, complaint: str) -> None:
    path = write_archive(tmp_path / "t.tar.gz", [("test/labels.txt", text), *NUMBERED])
    with pytest.raises(PipelineError, match=complaint):
        Labels(path).of("test/00000")


entries = st.lists(
    st.tuples(
        st.integers(0, 60).map(str), st.sampled_from("ab"), st.sampled_from(["1", "2", None])
    ),
    unique_by=lambda entry: entry[0],
)


@given(entries, st.integers(1, 6), st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_order(
    letters: list[tuple[str, str, str | None]], per_class: int, chance: random.Random
) -> None:
    chosen = choose(letters, per_class)
    assert choose(chance.sample(letters, len(letters)), per_class) == chosen
    of = {sample_id: class_id for sample_id, class_id, _ in letters}
    there = Counter(of.values())
    assert Counter(of[sample_id] for sample_id in chosen) == {
        class_id: min(count, per_class) for class_id, count in there.items()
    }


@given(entries, st.integers(1, 6))
def test_every_writer_comes_before_any_comes_again(
    letters: list[tuple[str, str, str | None]], per_class: int
) -> None:
    chosen = choose(letters, per_class)
    there = Counter((class_id, group) for _, class_id, group in letters)
    taken = Counter((class_id, group) for id_, class_id, group in letters if id_ in chosen)
    for class_id in "ab":
        counts = {g: taken[class_id, g] for c, g in there if c == class_id}
        unfinished = [n for g, n in counts.items() if n < there[class_id, g]]
        if unfinished:
            assert max(counts.values()) <= min(unfinished) + 1


def test_a_smaller_choice_is_part_of_a_larger_one() -> None:
    letters = [(f"{writer}/{trial}", "a", str(writer)) for writer in range(9) for trial in range(9)]
    assert choose(letters, 5) < choose(letters, 20) < choose(letters, 80)
