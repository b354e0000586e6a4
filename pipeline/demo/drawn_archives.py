"""Make the demo's archives of drawn handwriting, in the layout of HP's, with planted faults."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.demo import drawn_letters
from pipeline.demo.drawn_letters import LETTERS, Handwriting, unipen

TRAIN_WRITERS = tuple(range(16, 31))
TEST_WRITERS = tuple(range(40, 50))  # none of them wrote for the train archive
TRAIN_TRIALS, TEST_TRIALS = 3, 2
TRAIN_ARCHIVE, TEST_ARCHIVE = "train-online.tar.gz", "test-online.tar.gz"

GARBAGE = (bytes(range(128, 256)) + b"\n") * 4 + b".PEN_UP\n"

Member = tuple[str, bytes]


@dataclass(frozen=True)
class DrawnArchives:
    """Two archives, and the paths (without extensions) of the members with each fault."""

    files: dict[str, bytes]  # tar.gz bytes by file name
    sound: tuple[str, ...]  # without a fault; no two are equal
    apple_doubles: tuple[str, ...]
    corrupt: tuple[str, ...]
    copies: tuple[tuple[str, str], ...]  # (copy, the member with the same strokes)

    @property
    def checksums(self) -> dict[str, str]:
        """The sha256 of each archive, by file name."""
        return {name: hashlib.sha256(data).hexdigest() for name, data in self.files.items()}


def draw_archives(seed: int) -> DrawnArchives:
    """Return the train and the test archive; one seed always gives the same bytes."""
    doubles, corrupt, copies = _apple_doubles(), _corrupt(seed), _copies(seed)
    sound, test = list(_sound(seed)), list(_test_members(seed))
    train = [*sound, *doubles, *corrupt, *copies]
    train.sort(key=lambda member: member[0])  # puts each AppleDouble file beside its file
    pairs = tuple((name, f"{name[:-2]}01") for name in _names(copies))
    copied = {twin for _, twin in pairs}
    return DrawnArchives(
        {TRAIN_ARCHIVE: drawn_letters.tar_gz(train), TEST_ARCHIVE: drawn_letters.tar_gz(test)},
        tuple(name for name in _names([*sound, *test[1:]]) if name not in copied),
        _names(doubles),
        _names(corrupt),
        pairs,
    )


def _names(members: list[Member]) -> tuple[str, ...]:
    return tuple(name.removesuffix(".txt") for name, _ in members)


def _path(writer: int, letter: str, trial: int, prefix: str = "") -> str:
    return f"tamil_iso_char/usr_{writer}/{prefix}{letter}t{trial:02}.txt"


def _sound(seed: int) -> Iterator[Member]:
    for writer in TRAIN_WRITERS:
        handwriting = Handwriting.of(writer, seed)
        for letter in LETTERS:
            for trial in range(1, TRAIN_TRIALS + 1):
                strokes = handwriting.write(letter, trial, seed)
                yield _path(writer, letter, trial), unipen(strokes, writer, trial)


def _apple_doubles() -> list[Member]:
    first = next(iter(LETTERS))
    return [
        (_path(writer, first, 1, "._"), drawn_letters.APPLE_DOUBLE) for writer in TRAIN_WRITERS[:6]
    ]


def _copies(seed: int) -> list[Member]:
    """Return the strokes of trial 1 as a further trial, as if a sheet had been scanned twice."""
    trial, letter = TRAIN_TRIALS + 1, "020"
    return [
        (
            _path(writer, letter, trial),
            unipen(Handwriting.of(writer, seed).write(letter, 1, seed), writer, trial),
        )
        for writer in TRAIN_WRITERS[-4:]
    ]


def _corrupt(seed: int) -> list[Member]:
    """Return two damaged pen files: one cut inside a point, one with garbage for points."""
    whole, garbled = (
        (
            _path(writer, "016", 99),
            unipen(Handwriting.of(writer, seed).write("016", 99, seed), writer, 99),
        )
        for writer in TRAIN_WRITERS[:2]
    )
    return [
        (whole[0], whole[1][: whole[1].rindex(b" ")]),
        (garbled[0], garbled[1].partition(b".PEN_DOWN\n")[0] + b".PEN_DOWN\n" + GARBAGE),
    ]


def _test_members(seed: int) -> Iterator[Member]:
    """Yield the members of the test archive: numbered files without writers, and their classes."""
    samples = [
        (letter, unipen(Handwriting.of(writer, seed).write(letter, trial, seed), 0, trial))
        for writer in TEST_WRITERS
        for letter in LETTERS
        for trial in range(1, TEST_TRIALS + 1)
    ]
    random.Random(seed).shuffle(samples)
    lines = (f"{number:05} {letter}\n" for number, (letter, _) in enumerate(samples))
    yield "test/labels.txt", "".join(lines).encode()
    for number, (_, data) in enumerate(samples):
        yield f"test/{number:05}.txt", data
