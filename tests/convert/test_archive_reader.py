"""Reading archives: every member is counted, and `choose` does not depend on their order."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.convert.archive import Letter, Skipped
from pipeline.convert.archive_reader import ArchiveReader, choose
from pipeline.convert.classes import LetterClass
from pipeline.core.errors import Rejected
from pipeline.core.progress import Progress
from pipeline.core.tarballs import Member
from tests.archiving import APPLE_DOUBLE, write_archive

KA = LetterClass("ka", "\u0915", "ka")


class FlatLayout:
    """The layout of a made-up publisher: `<writer>-<class>.<extension>`, all in one folder."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive

    def letter(self, member: Member) -> Letter | Skipped:
        assert member.rejected is None, "a layout sees safe members only"
        stem, _, extension = member.name.rpartition(".")
        if extension == "md":
            return Skipped("readme")
        writer, dash, class_id = stem.partition("-")
        if not dash:
            raise Rejected("unlabelled", "the name has no class")
        return Letter(stem, class_id, writer, None, member.name, member.data)


def test_another_layout_accounts_for_every_member(tmp_path: Path) -> None:
    members = [
        ("anna-ka.txt", b"1"),
        ("._anna-ka.txt", b""),
        ("ben-ka.txt", APPLE_DOUBLE),
        ("../anna-ka.txt", b"2"),
        ("about.md", b"3"),
        ("anna.txt", b"4"),
        ("anna-kha.txt", b"5"),
        ("anna-ka.dat", b"6"),
    ]
    path = write_archive(tmp_path / "flat.tar.gz", members)
    reader = ArchiveReader({"train": path}, {"ka": KA}, FlatLayout)
    with Progress("read") as progress:
        batches = list(reader.batches(progress))
    assert [(name, [letter.sample_id for letter in batch]) for _, name, batch in batches] == [
        ("train", ["anna-ka"])
    ]
    assert reader.parts["train"].skipped == {"apple-double": 2, "readme": 1}
    assert {(row.sample_id, row.reason) for row in reader.rejected} == {
        ("../anna-ka.txt", "hostile-member"),
        ("anna.txt", "unlabelled"),
        ("anna-kha.txt", "unlabelled"),
        ("anna-ka.dat", "duplicate-member"),
    }


entries = st.lists(
    st.tuples(
        st.integers(0, 60).map(str), st.sampled_from("ab"), st.sampled_from(["1", "2", None])
    ),
    unique_by=lambda entry: entry[0],
)


@given(entries, st.integers(1, 6), st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_order(
    letters: list[tuple[str, str, str | None]], per_class: int, random_: random.Random
) -> None:
    chosen = choose(letters, per_class)
    assert choose(random_.sample(letters, len(letters)), per_class) == chosen
    of = {sample_id: class_id for sample_id, class_id, _ in letters}
    counts = Counter(of.values())
    assert Counter(of[sample_id] for sample_id in chosen) == {
        class_id: min(count, per_class) for class_id, count in counts.items()
    }


@given(entries, st.integers(1, 6))
def test_every_writer_gives_one_before_any_gives_a_second(
    letters: list[tuple[str, str, str | None]], per_class: int
) -> None:
    chosen = choose(letters, per_class)
    counts_of = Counter((class_id, group) for _, class_id, group in letters)
    taken = Counter((class_id, group) for id_, class_id, group in letters if id_ in chosen)
    for class_id in "ab":
        counts = {g: taken[class_id, g] for c, g in counts_of if c == class_id}
        unfinished = [n for g, n in counts.items() if n < counts_of[class_id, g]]
        if unfinished:
            assert max(counts.values()) <= min(unfinished) + 1


def test_a_smaller_choice_is_a_subset_of_a_larger_one() -> None:
    letters = [(f"{writer}/{trial}", "a", str(writer)) for writer in range(9) for trial in range(9)]
    assert choose(letters, 5) < choose(letters, 20) < choose(letters, 80)
