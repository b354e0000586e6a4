"""Bing's image search, read from its HTML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlencode

from bs4 import BeautifulSoup
from icrawler.builtin.bing import BingFeeder

from pipeline.core.errors import PipelineError
from pipeline.core.params import Crawl, Dance
from pipeline.crawl.engines.engine import Engine, EngineError, Fetch, Page, Result, home_url
from pipeline.crawl.engines.parsing import clean_text

_CAPTCHA = (b"captcha", b"unusual traffic", b"are you a robot", b"verify you are human")


class Bing(Engine):
    """Bing's `images/async` pages, with icrawler's filter names."""

    name = "bing"
    default_url = "https://www.bing.com"

    def __init__(self, home: str = default_url, filters: Mapping[str, str] | None = None) -> None:
        self.home = home
        try:
            chosen = BingFeeder.get_filter(None).apply(dict(filters or {}))
        except (AssertionError, KeyError, ValueError) as error:
            why = error.args[0] if error.args else "not a size"
            raise PipelineError(f"params.yaml: crawl.filters: {why}") from error
        self.filters = {"qft": chosen} if chosen else {}

    @classmethod
    def from_params(cls, key: str, dance: Dance, params: Crawl) -> Self:
        """Return the engine with crawl.filters. Raises PipelineError if Bing has no such filter."""
        return cls(home_url(params, cls.default_url), params.filters)

    def page(self, query: str, number: int, offset: int, fetch: Fetch) -> Page:
        """Return a page, read from the JSON in the attribute `m` of each result."""
        parameters = {"q": query, "first": offset} | self.filters
        body = fetch(f"{self.home}/images/async?{urlencode(parameters)}")
        soup = BeautifulSoup(body, "lxml", from_encoding="utf-8")
        anchors = soup.select("a.iusc[m]")
        results = [
            Result(url, page_url=clean_text(item.get("purl")))
            for item in (_object_or_empty(str(anchor["m"])) for anchor in anchors)
            if (url := clean_text(item.get("murl")))
        ]
        if not results:
            lowered = body[:200_000].lower()
            if any(mark in lowered for mark in _CAPTCHA):
                raise EngineError("blocked", "a CAPTCHA instead of results")
            if b"murl" in body or anchors or soup.select_one("a img"):
                raise EngineError(
                    "changed", "the page has images, but no <a class=iusc> element with a murl"
                )
        return Page(results, size=len(anchors))


def _object_or_empty(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
