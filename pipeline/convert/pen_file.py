"""The content of a pen file: streams of points, and segments that label parts of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]  # (n, columns)
Position = tuple[int, int | None]  # component and point; None: its first or last point
Span = tuple[Position, Position]  # from, to: both inclusive


@dataclass(eq=False, slots=True)
class Stream:
    """The points after a `.PEN_DOWN` or `.PEN_UP`: (n, columns) values.

    `columns` are the names that `.COORD` gives ("X", "Y", "T", "P"). A missing value is NaN; X and
    Y are never missing. A file may hold several sets. The numbers by which a segment refers to
    streams start at 0 in each `set`.
    """

    is_down: bool
    points: Points
    columns: tuple[str, ...] = ("X", "Y")
    set: int = 0

    @property
    def xy(self) -> Points:
        """The (n, 2) coordinates."""
        if self.columns[:2] == ("X", "Y"):
            return self.points[:, :2]
        return self.points[:, [self.columns.index("X"), self.columns.index("Y")]]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Stream)
            and (self.is_down, self.columns, self.set) == (other.is_down, other.columns, other.set)
            and np.array_equal(self.points, other.points, equal_nan=True)
        )

    __hash__ = None  # type: ignore[assignment]  # arrays have no hash


@dataclass(frozen=True, slots=True)
class Segment:
    """A labelled part of a file: `.SEGMENT level spans quality "label"`.

    If `spans` is empty, the segment is the whole set; None means that the delineation is invalid.
    """

    level: str
    spans: tuple[Span, ...] | None = ()
    quality: str | None = None
    label: str | None = None
    set: int = 0


@dataclass(frozen=True)
class PenFile:
    """The content of a pen file without its free text."""

    streams: tuple[Stream, ...] = ()  # in file order, including empty ones
    segments: tuple[Segment, ...] = ()
    header: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    missing: int = field(default=0, compare=False)  # number of included files that were not found

    @cached_property
    def _components(self) -> dict[int, list[Stream]]:
        """The streams with points, by set; component numbers in segments count only these."""
        sets: dict[int, list[Stream]] = {}
        for stream in self.streams:
            if len(stream.points):
                sets.setdefault(stream.set, []).append(stream)
        return sets

    @property
    def strokes(self) -> list[Points]:
        """The (n, 2) coordinates of each pen-down stream with points."""
        return [stream.xy for stream in self.streams if stream.is_down and len(stream.points)]

    @property
    def points_per_inch(self) -> tuple[float, float] | None:
        """The tablet's resolution in x and y, or None if the file does not give it."""
        x, y = (self._per_inch(axis) for axis in "XY")
        if x is None and y is None:
            return None
        return (x or y or 0.0, y or x or 0.0)

    def _per_inch(self, axis: str) -> float | None:
        for unit, factor in (("INCH", 1.0), ("MM", 25.4)):
            for text in self.header.get(f"{axis}_POINTS_PER_{unit}", ()):
                try:
                    value = float(text) * factor
                except ValueError:
                    continue
                if 0 < value < 1e6:
                    return value
        return None

    def ink(self, segment: Segment) -> list[Points] | None:
        """Return a segment's strokes, (n, 2) each, or None if it names points that do not exist."""
        if segment.spans is None:
            return None
        components = self._components.get(segment.set, [])
        spans = segment.spans or (((0, None), (len(components) - 1, None)),)
        strokes: list[Points] = []
        for (first, low), (last, high) in spans:
            if not first <= last < len(components):
                return None
            for number in range(first, last + 1):
                xy = components[number].xy
                start = low if number == first and low is not None else 0
                end = high if number == last and high is not None else len(xy) - 1
                if not start <= end < len(xy):
                    return None
                if components[number].is_down:
                    strokes.append(xy[start : end + 1])
        return strokes
