"""What a page is made of: values that the template lays out, each escaped there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class Number:
    """A number of a run: how it is shown, and which way is good.

    `low` and `high` are the ends of its 95% interval, where one is known.
    """

    value: float | None
    shape: Literal["count", "share", "loss", "plain"] = "count"
    better: Literal["higher", "lower", ""] = ""
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        """Raise TypeError for what is no number: the report is damaged."""
        for value in (self.value, self.low, self.high):
            if value is not None and not isinstance(value, int | float):
                raise TypeError(f"{value!r} is no number")

    def __str__(self) -> str:
        if self.value is None:
            return "none"
        text = shown(self.value, self.shape)
        if self.low is not None and self.high is not None:
            ends = " to ".join(shown(end, self.shape) for end in (self.low, self.high))
            text += f" (95%: {ends})"
        return text


def shown(value: float, shape: str) -> str:
    """Return a number as people read it."""
    if shape == "share":
        return f"{100 * value:.1f}%"
    return f"{value:{ {'count': '.0f', 'loss': '.3f', 'plain': '.3g'}[shape] }}"


@dataclass(frozen=True)
class Change:
    """What became of a number, in words; `verdict` is for the colour, which says no more."""

    words: str
    verdict: Literal["better", "worse", ""] = ""

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Link:
    """A text that leads to an address of the web; without one it is a text alone."""

    text: str
    address: str | None = None

    def __post_init__(self) -> None:
        """Drop an address that is none of the web: `javascript:` and the like."""
        if not (self.address or "").lower().startswith(("http://", "https://")):
            object.__setattr__(self, "address", None)

    def __str__(self) -> str:
        return self.text


Cell = str | Number | Change | Link


@dataclass(frozen=True)
class Table:
    """A table with its caption; the first cell of a row names it."""

    kind: ClassVar = "table"
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    is_long: bool = False  # closed until somebody opens it


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar = "text"
    text: str


@dataclass(frozen=True)
class Missing:
    """What is not here, and the command that makes it."""

    kind: ClassVar = "missing"
    what: str
    command: str


@dataclass(frozen=True)
class Figure:
    """A picture of numbers: `source` is a data URI."""

    kind: ClassVar = "figure"
    source: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Picture:
    """A sample's picture: `source` is a data URI; `note` stands below it."""

    source: str
    alt: str
    note: str = ""
    page: Link | None = None  # where it was found


@dataclass(frozen=True)
class Group:
    """Pictures that belong together, and why."""

    title: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Gallery:
    """Groups of pictures under a caption."""

    kind: ClassVar = "gallery"
    caption: str
    groups: Sequence[Group]


Block = Table | Text | Missing | Figure | Gallery


@dataclass(frozen=True)
class Section:
    """A part of the page about one dataset."""

    key: str  # of its address on the page
    title: str
    blocks: Sequence[Block]
