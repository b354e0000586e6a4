"""Fonts for names in any script: matplotlib's own font, else one of the system's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import groupby
from typing import NamedTuple

from matplotlib import font_manager, ft2font
from matplotlib.ft2font import FT2Font
from PIL import ImageFont, features

OWN = "DejaVu Sans"  # comes with matplotlib: Latin, Greek, Cyrillic, and all of ISO 15919
LONGEST = 28  # letters in a name beside a plot


class Font(NamedTuple):
    """A font: its family, its file and its code points."""

    family: str
    file: str
    letters: frozenset[int]


@cache
def own() -> Font:
    """Return the font that matplotlib ships."""
    file = font_manager.findfont(OWN)
    return Font(OWN, file, frozenset(FT2Font(file).get_charmap()))


@cache
def of_the_system() -> tuple[Font, ...]:
    """Return the system's regular fonts, sans-serif first, sorted by name.

    The list is empty if libraqm is missing, from Pillow or from a matplotlib older than 3.11.
    Without libraqm, which joins and reorders letters, Tamil is drawn wrongly.
    """
    if not getattr(ft2font, "__libraqm_version__", None) or not features.check("raqm"):
        return ()
    plain = [
        entry
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal" and entry.weight == 400 and "Last Resort" not in entry.name
    ]
    found = []
    for entry in sorted(plain, key=lambda entry: ("Sans" not in entry.name, entry.name)):
        with contextlib.suppress(OSError, RuntimeError):  # removed since, or damaged
            letters = frozenset(FT2Font(entry.fname).get_charmap())
            found.append(Font(entry.name, entry.fname, letters))
    return tuple(found)


@cache
def font_for(text: str) -> Font | None:
    """Return a font that has all letters of a text; None if this machine has none."""
    wanted = {ord(letter) for letter in text}
    if wanted <= own().letters:
        return own()
    return next((font for font in of_the_system() if wanted <= font.letters), None)


def is_drawn(text: str) -> bool:
    """Return whether every word of a text can be drawn, each in one of the fonts."""
    return all(font_for(word) for word in text.split()) and text.isprintable()


def drawable(*names: str | None) -> str:
    """Return the first name that can be drawn; "" if none can."""
    return next((name for name in names if name and is_drawn(name)), "")


def tick(label: str, name: str, romanised: str | None = None) -> str:
    """Return a class's text on an axis: its name, romanised name or label, whichever can be drawn.

    Long names are cut. If none can be drawn, the label's code points are returned.
    """
    text = drawable(name, romanised, label) or ascii(label)[1:-1]
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def both(label: str, name: str, romanised: str | None = None) -> str:
    """Return the name of a class with its romanised name, if it has one: "கா kā"."""
    shown = tick(label, name, romanised)
    return shown if romanised is None or romanised == shown else f"{shown} {romanised}"


def families(texts: Iterable[str]) -> list[str]:
    """Return the font families that cover texts, in matplotlib's order of preference."""
    fonts = (font_for(word) for text in texts for word in text.split())
    return list(dict.fromkeys([OWN, *(font.family for font in fonts if font)]))


def runs(text: str) -> Iterator[tuple[str, str]]:
    """Split a text into (piece, font file); Pillow draws with one font at a time."""
    words = ((f"{word} ", (font_for(word) or own()).file) for word in text.split(" "))
    for file, piece in groupby(words, key=lambda pair: pair[1]):
        yield "".join(word for word, _ in piece), file


@cache
def pillow_font(file: str, size: int) -> ImageFont.FreeTypeFont:
    """Return a font for Pillow; `size` is in pixels."""
    return ImageFont.truetype(file, size)
