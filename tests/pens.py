"""Pen files for tests: small ones by hand, and strategies for any pen file."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.convert.pen_file import PenFile, Segment, Span, Stream

HEADER = """\
.VERSION 1.0 0
.HIERARCHY CHARACTER
.COORD X Y T
.SEGMENT CHARACTER
.X_POINTS_PER_INCH 2500
.Y_POINTS_PER_INCH 2500
.POINTS_PER_SECOND 120

.WRITER_ID 7
.WRITER_INFO
 WriterName:Secret Person
 WriterTrailNo:1
"""

# three strokes of 3, 2 and 1 points; x is the stroke, y the point
STREAMS = b".PEN_DOWN\n0 0\n0 1\n0 2\n.PEN_DOWN\n1 0\n1 1\n.PEN_DOWN\n2 0\n"


def pen_file(*strokes: str, header: str = HEADER) -> bytes:
    """Return a file in HP's layout; a stroke is its rows, separated by commas."""
    rows = (stroke.replace(", ", "\n") for stroke in strokes)
    return (header + "".join(f".PEN_DOWN\n{text}\n.PEN_UP\n" for text in rows)).encode()


@st.composite
def streams(draw: st.DrawFn, columns: tuple[str, ...], number: int) -> Stream:
    """A stream of a set: whole or broken numbers, the last values of a row sometimes missing."""
    whole = st.integers(-(10**6), 10**6).map(float)
    broken = st.floats(-1e15, 1e15, allow_nan=False).map(lambda value: value + 0.0)
    shape = (draw(st.integers(0, 5)), len(columns))
    points = draw(hnp.arrays(np.float64, shape, elements=draw(st.sampled_from([whole, broken]))))
    if len(columns) > 2 and columns[:2] == ("X", "Y") and len(points) and draw(st.booleans()):
        points[draw(st.integers(0, len(points) - 1)), draw(st.integers(2, len(columns) - 1)) :] = (
            np.nan
        )
    return Stream(draw(st.booleans()), points, columns, number)


_point = st.none() | st.integers(0, 99)
_positions = st.tuples(st.integers(0, 50), _point)
_words = st.text(st.characters(codec="ascii", categories=["Lu"]), min_size=1, max_size=9)
_labels = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=8
) | st.text(st.sampled_from('\n.PEN"\\@ '), max_size=9)


@st.composite
def _spans(draw: st.DrawFn) -> Span:
    return draw(_positions), draw(_positions)


@st.composite
def segments(draw: st.DrawFn, number: int) -> Segment:
    """A segment with all or some of its parts."""
    spans = draw(st.none() | st.lists(_spans(), max_size=3).map(tuple))
    quality = draw(st.none() | st.sampled_from(["OK", "?", "BAD"]))
    return Segment(draw(_words), spans, quality, draw(st.none() | _labels), number)


@st.composite
def pens(draw: st.DrawFn) -> PenFile:
    """A pen file of one to three sets, with any header that passes the reader."""
    columns = st.sampled_from([("X", "Y"), ("X", "Y", "T"), ("X", "Y", "T", "P"), ("T", "Y", "X")])
    all_streams: list[Stream] = []
    all_segments: list[Segment] = []
    for number in range(draw(st.integers(1, 3))):
        all_streams += draw(st.lists(columns.flatmap(lambda c: streams(c, number)), max_size=4))  # noqa: B023
        all_segments += draw(st.lists(segments(number), max_size=3))
        used = {s.set for s in all_streams} | {s.set for s in all_segments}
        if number not in used:
            all_segments.append(Segment("WORD", set=number))
    header = draw(
        st.fixed_dictionaries(
            {"VERSION": st.just(("1.0",))},
            optional={
                "WRITER_ID": st.lists(st.integers(0, 10**6).map(str), min_size=1, unique=True),
                "HAND": st.just(("R",)),
                "X_POINTS_PER_INCH": st.integers(1, 9999).map(lambda value: (str(value),)),
            },
        )
    )
    return PenFile(
        tuple(all_streams),
        tuple(all_segments),
        {name: tuple(values) for name, values in header.items()},
    )
