"""Write Tamil letters by several writers as UNIPEN files in HP's layout, in tar.gz archives.

The shapes follow how people write six letters. As in real handwriting, a writer has the same
slant, proportions, size, tremor and place on the tablet in every letter. Trials of one writer
differ little.
"""

from __future__ import annotations

import gzip
import io
import math
import random
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Point = tuple[float, float]

POINTS_PER_INCH = 2500  # of HP's tablet; at 250 dpi, ten points are one pixel
STEPS = 6  # points between two control points: about 1 mm of ink apart, as on a tablet

# class -> strokes as control points "x y, x y, ..." in hundredths of a letter's height; x points
# right and y down. A control point that is repeated is a corner.
_SHAPES = {
    "004": [  # உ
        "52 30, 36 22, 45 5, 68 6, 80 25, 62 55, 30 78, 5 96, 5 96, 50 98, 100 96, 155 100"
    ],
    "011": [  # ஃ
        "50 0, 62 10, 50 22, 38 10, 50 0",
        "14 76, 26 88, 13 100, 0 88, 14 76",
        "90 76, 102 88, 90 100, 78 87, 90 76",
    ],
    "016": ["20 0, 12 50, 6 98, 6 98, 70 95, 135 92"],  # ட
    "020": ["6 0, 4 50, 8 98, 8 98, 50 100, 92 97, 92 97, 100 50, 98 0"],  # ப
    "021": [  # ம
        "5 0, 3 50, 6 97, 6 97, 50 100, 95 90, 120 62, 102 32, 74 42, 62 70, 78 104"
    ],
    "022": [  # ய
        "8 0, 0 50, 14 95, 36 90, 52 42, 52 42, 60 88, 85 100, 106 70, 105 0"
    ],
}


def _points(text: str) -> list[Point]:
    pairs = (pair.split() for pair in text.split(","))
    return [(int(x) / 100, int(y) / 100) for x, y in pairs]


LETTERS: dict[str, list[list[Point]]] = {
    letter: [_points(stroke) for stroke in strokes] for letter, strokes in _SHAPES.items()
}

APPLE_DOUBLE = (  # macOS puts such a file beside another in a tar: a header without entries
    b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(58)
)


@dataclass(frozen=True)
class Handwriting:
    """The properties that all letters of one writer share."""

    writer: int
    slant: float  # horizontal shift per unit of height; negative leans right
    stretch: float  # of the width, relative to the height
    height: float  # of a letter, in tablet points
    turn: float  # radians
    tremor: float  # standard deviation of a control point, in units of height
    corner: Point  # top left of the letter on the tablet, in tablet points

    @classmethod
    def of(cls, writer: int, seed: int) -> Handwriting:
        """Return the handwriting of a writer, always the same for one seed."""
        chance = random.Random(f"{seed}/hand/{writer}")
        return cls(
            writer,
            slant=chance.uniform(-0.35, 0.2),
            stretch=chance.uniform(0.75, 1.35),
            height=chance.uniform(420, 1000),
            turn=chance.uniform(-0.12, 0.12),
            tremor=chance.uniform(0.015, 0.045),
            corner=(chance.uniform(500, 4000), chance.uniform(300, 3000)),
        )

    def write(self, letter: str, trial: int, seed: int) -> list[list[tuple[int, int]]]:
        """Return the strokes of one trial as points on the tablet; y grows downwards."""
        chance = random.Random(f"{seed}/trial/{self.writer}/{letter}/{trial}")
        height = self.height * chance.uniform(0.9, 1.1)
        turn = self.turn + chance.gauss(0, 0.03)
        cos, sin = math.cos(turn), math.sin(turn)

        def place(point: Point) -> Point:
            x = (point[0] + chance.gauss(0, self.tremor)) * self.stretch
            y = point[1] + chance.gauss(0, self.tremor)
            x -= self.slant * (1 - y)
            return (
                self.corner[0] + height * (x * cos - y * sin),
                self.corner[1] + height * (x * sin + y * cos),
            )

        strokes = []
        for stroke in LETTERS[letter]:
            placed: dict[Point, Point] = {}  # the two points of a corner stay together
            for point in stroke:
                if point not in placed:
                    placed[point] = place(point)
            curve = spline([placed[point] for point in stroke])
            strokes.append([(round(x), round(y)) for x, y in curve])
        return strokes


def spline(controls: Sequence[Point]) -> list[Point]:
    """Return points of the Catmull-Rom spline through all control points."""
    padded = [controls[0], *controls, controls[-1]]
    curve = [controls[0]]
    for before, start, end, after in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        for step in range(1, STEPS + 1):
            t = step / STEPS
            curve.append(
                (
                    _between(before[0], start[0], end[0], after[0], t),
                    _between(before[1], start[1], end[1], after[1], t),
                )
            )
    return curve


def _between(before: float, start: float, end: float, after: float, t: float) -> float:
    return 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )


def unipen(strokes: Iterable[Sequence[tuple[int, int]]], writer: int, trial: int) -> bytes:
    """Return a pen file like HP's: with the writer's name, and with times only at stroke ends."""
    lines = [
        ".VERSION 1.0 0",
        ".HIERARCHY CHARACTER",
        ".COORD X Y T",
        ".SEGMENT CHARACTER",
        f".X_POINTS_PER_INCH {POINTS_PER_INCH}",
        f".Y_POINTS_PER_INCH {POINTS_PER_INCH}",
        ".POINTS_PER_SECOND 120",
        "",
        f".WRITER_ID {writer}",
        ".HAND RIGHT",
        ".STYLE NORMAL",
        ".WRITER_INFO",
        f" WriterName:Penmani Demo {writer}",  # personal data: convert must never copy it
        f" WriterTrailNo:{trial}",
        " WritingSetup:TABLETPC",
    ]
    clock = 20_000 + 31 * writer
    for stroke in strokes:
        stamps = [clock, *[0] * (len(stroke) - 2), clock + 8 * len(stroke)]
        lines.append(".PEN_DOWN")
        lines += [f"{x} {y} {t}" for (x, y), t in zip(stroke, stamps, strict=True)]
        lines.append(".PEN_UP")
        clock = stamps[-1] + 150
    return "\n".join([*lines, ""]).encode("ascii")


def tar_gz(members: Iterable[tuple[str, bytes]]) -> bytes:
    """Return a tar.gz of members in the given order; the same members give the same bytes."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
