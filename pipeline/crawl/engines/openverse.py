"""Openverse: openly licensed images, with all that an attribution needs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Self
from urllib.parse import urlencode

from pipeline.core.params import Crawl, Dance
from pipeline.crawl.engines.engine import Engine, Fetch, Page, Result, home_url
from pipeline.crawl.engines.parsing import clean_text, json_object, object_list


class Openverse(Engine):
    """Openverse's API without a key: 20 images a page and 240 a query."""

    name = "openverse"
    default_url = "https://api.openverse.org"

    def __init__(self, home: str = default_url, licences: Collection[str] = ()) -> None:
        self.home = home
        self.filters = {"license": ",".join(sorted(licences))} if licences else {}

    @classmethod
    def from_params(cls, key: str, dance: Dance, params: Crawl) -> Self:
        """Return the engine; it searches for images under crawl.licences only."""
        return cls(home_url(params, cls.default_url), params.licences)

    def page(self, query: str, number: int, offset: int, fetch: Fetch) -> Page:
        """Return a page: the hits in the list `results` of the JSON."""
        parameters = {"q": query, "page": number + 1, "page_size": 20} | self.filters
        answer = json_object(fetch(f"{self.home}/v1/images/?{urlencode(parameters)}"))
        items = object_list(answer, "results")
        results = [
            Result(
                url,
                page_url=clean_text(item.get("foreign_landing_url")),
                licence=clean_text(item.get("license")),
                licence_url=clean_text(item.get("license_url")),
                creator=clean_text(item.get("creator")),
                attribution=clean_text(item.get("attribution")),
            )
            for item in items
            if (url := clean_text(item.get("url")))
        ]
        pages = answer.get("page_count")
        return Page(results, len(items), is_last=isinstance(pages, int) and number + 1 >= pages)
