"""Markdown for card.md and credits.md: text from the web stays text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence


def escaped(text: str) -> str:
    """Escape the characters that mean something in Markdown or HTML, and fold white space."""
    return re.sub(r"([\\`*_{}\[\]<>#|!&])", r"\\\1", " ".join(text.split()))


def linked(text: str, url: str | None) -> str:
    """Return an escaped text as a link if `url` is http or https, else without a link."""
    if url is None or not url.lower().startswith(("http://", "https://")):
        return escaped(text)
    address = re.sub(r"[<>\s]", "", url)
    return f"[{escaped(text)}](<{address}>)"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Yield the lines of a table; its cells are escaped."""
    yield f"| {' | '.join(header)} |"
    yield f"|{' --- |' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(escaped(str(value)) for value in row)} |"
