"""Blocks: the values that the template lays out. The template escapes each of them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class Number:
    """A number with its format, and the direction in which it is better.

    `low` and `high` are the ends of its 95% confidence interval, if known.
    """

    value: float | None
    format: Literal["count", "share", "loss", "plain"] = "count"
    better: Literal["higher", "lower", ""] = ""
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        """Raise TypeError if a value is not a number, which means that the report is damaged."""
        for value in (self.value, self.low, self.high):
            if value is not None and not isinstance(value, int | float):
                raise TypeError(f"{value!r} is not a number")

    def __str__(self) -> str:
        if self.value is None:
            return "none"
        text = formatted(self.value, self.format)
        if self.low is not None and self.high is not None:
            low, high = (formatted(end, self.format) for end in (self.low, self.high))
            text += f" (95% CI {low} to {high})"
        return text


FORMATS = {"count": ".0f", "share": ".1%", "loss": ".3f", "plain": ".3g"}


def formatted(value: float, as_format: str) -> str:
    """Return a number as text; `as_format` is one of FORMATS."""
    return format(value, FORMATS[as_format])


def data_uri(data: bytes, kind: str) -> str:
    """Return an image as a URI that contains it."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


@dataclass(frozen=True)
class Change:
    """How a number changed, in words; `verdict` only chooses the colour."""

    words: str
    verdict: Literal["better", "worse", ""] = ""

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True)
class Link:
    """A text with a web address; without an address it is plain text."""

    text: str
    address: str | None = None

    def __post_init__(self) -> None:
        """Drop an address that is not http or https, such as `javascript:`."""
        if not (self.address or "").lower().startswith(("http://", "https://")):
            object.__setattr__(self, "address", None)

    def __str__(self) -> str:
        return self.text


Cell = str | Number | Change | Link


@dataclass(frozen=True)
class Table:
    """A table with a caption; the first cell of a row names the row."""

    kind: ClassVar = "table"
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    is_folded: bool = False  # shows only its caption until a reader opens it


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar = "text"
    text: str


@dataclass(frozen=True)
class Missing:
    """Something that does not exist yet, and the command that makes it."""

    kind: ClassVar = "missing"
    what: str
    command: str


@dataclass(frozen=True)
class Figure:
    """A chart; `source` is a data URI."""

    kind: ClassVar = "figure"
    source: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Thumbnail:
    """A reduced image of a sample; `source` is a data URI, `note` stands below it."""

    source: str
    alt: str
    note: str = ""
    page: Link | None = None  # the web page that the image is from


@dataclass(frozen=True)
class Group:
    """Thumbnails that belong together, under a title."""

    title: str
    thumbnails: Sequence[Thumbnail]


@dataclass(frozen=True)
class Gallery:
    """Groups of thumbnails under a caption."""

    kind: ClassVar = "gallery"
    caption: str
    groups: Sequence[Group]


Block = Table | Text | Missing | Figure | Gallery


@dataclass(frozen=True)
class Section:
    """A section of the page about one dataset."""

    key: str  # part of its address on the page
    heading: str
    blocks: Sequence[Block]
