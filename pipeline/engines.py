"""Image search engines: which pages to ask, and what their answers say.

An engine is pure: it names the URL of a page and reads a page's body. What it knows of a picture
(its page, licence, creator) it says; what it does not know is None.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote_plus

from bs4 import BeautifulSoup
from icrawler.builtin.bing import BingFeeder

from pipeline.errors import PipelineError


@dataclass(frozen=True, slots=True)
class Result:
    """One picture that an engine found."""

    url: str
    page_url: str | None = None
    licence: str | None = None
    licence_url: str | None = None
    creator: str | None = None
    attribution: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of results. `size` counts its places, unusable ones too: the next page's offset."""

    results: list[Result]
    size: int
    is_last: bool = False


class EngineTrouble(Exception):  # noqa: N818  (a state of the engine, met and reported)
    """An engine that gives no results: `kind` is unreachable, blocked or changed."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail


class Engine(Protocol):
    """What a search engine can be asked."""

    name: str

    def page_url(self, query: str, number: int, offset: int) -> str:
        """Return the URL of page `number` (from 0), `offset` places after the first result."""

    def read(self, body: bytes) -> Page:
        """Read a page; raise EngineTrouble when it is a captcha or nothing we know."""


_CAPTCHA = (b"captcha", b"unusual traffic", b"are you a robot", b"verify you are human")


def _no_captcha(body: bytes) -> None:
    lowered = body[:200_000].lower()
    for mark in _CAPTCHA:
        if mark in lowered:
            raise EngineTrouble("blocked", f"a page with {mark.decode()!r} instead of results")


class Bing:
    """Bing's image search: HTML of `images/async`, with icrawler's filters."""

    name = "bing"
    home = "https://www.bing.com"

    def __init__(self, home: str | None = None, filters: Mapping[str, str] | None = None) -> None:
        self.home = (home or self.home).rstrip("/")
        try:
            chosen = BingFeeder.get_filter(None).apply(dict(filters or {}))
        except (KeyError, ValueError) as error:
            raise PipelineError(f"params.yaml: crawl.filters: {error.args[0]}") from error
        self.filters = f"&qft={quote_plus(chosen)}" if chosen else ""

    def page_url(self, query: str, number: int, offset: int) -> str:
        """Return the URL of the page that begins `offset` results in."""
        return f"{self.home}/images/async?q={quote_plus(query)}&first={offset}{self.filters}"

    def read(self, body: bytes) -> Page:
        """Read the JSON that each result carries in its attribute `m`."""
        soup = BeautifulSoup(body, "lxml", from_encoding="utf-8")
        anchors = soup.select("a.iusc[m]")
        found = [told for told in (_json(str(anchor["m"])) for anchor in anchors) if told]
        results = [
            Result(told["murl"], page_url=_text(told.get("purl")))
            for told in found
            if _text(told.get("murl"))
        ]
        if not results:
            _no_captcha(body)
            if b"murl" in body or anchors or soup.select_one("a img"):
                raise EngineTrouble("changed", "pictures, but not in the form that is known")
        return Page(results, size=len(anchors))


def _json(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None
