"""Wikimedia Commons: full-text search over its bitmap files."""

from __future__ import annotations

from typing import Any, Self
from urllib.parse import urlencode

from pipeline.core.params import Crawl, Dance
from pipeline.crawl.engines.engine import Engine, EngineError, Fetch, Page, Result, home_url
from pipeline.crawl.engines.parsing import (
    clean_text,
    json_object,
    licence_name,
    object_list,
    text_of_html,
)

PAGE_SIZE = 50
MAX_WIDTH = 1280  # pixels; for a wider file, Commons' thumbnail of this width is downloaded


class Wikimedia(Engine):
    """Wikimedia Commons' API."""

    name = "wikimedia"
    default_url = "https://commons.wikimedia.org"

    def __init__(self, home: str = default_url) -> None:
        self.home = home

    @classmethod
    def from_params(cls, key: str, dance: Dance, params: Crawl) -> Self:
        """Return the engine; it needs no setting."""
        return cls(home_url(params, cls.default_url))

    def page(self, query: str, number: int, offset: int, fetch: Fetch) -> Page:
        """Return a page, read from the unordered `query.pages` and sorted by `index`."""
        parameters = {
            "action": "query",
            "format": "json",
            "formatversion": 2,
            "generator": "search",
            "gsrsearch": f"{query} filetype:bitmap",
            "gsrnamespace": 6,
            "gsrlimit": PAGE_SIZE,
            "gsroffset": offset,
            "prop": "imageinfo",
            "iiprop": "url|extmetadata",
            "iiurlwidth": MAX_WIDTH,
            "iiextmetadatafilter": "License|LicenseShortName|LicenseUrl|Artist",
        }
        answer = json_object(fetch(f"{self.home}/w/api.php?{urlencode(parameters)}"))
        if isinstance(error := answer.get("error"), dict):
            code = str(error.get("code"))
            is_refused = code in ("ratelimited", "maxlag", "blocked")
            raise EngineError(
                "blocked" if is_refused else "changed", f"{code}: {error.get('info')}"
            )
        found = answer.get("query", {"pages": []} if "batchcomplete" in answer else {})
        pages = sorted(object_list(found, "pages"), key=lambda page: int(page.get("index", 0)))
        results = [result for page in pages if (result := _result(page))]
        return Page(results, size=PAGE_SIZE, is_last="continue" not in answer)


def _result(page: dict[str, Any]) -> Result | None:
    info: dict[str, Any] = next(iter(page.get("imageinfo") or []), {})
    url = clean_text(info.get("thumburl")) or clean_text(info.get("url"))
    if not url:
        return None
    about = info.get("extmetadata") or {}
    name, licence_url, creator = (
        text_of_html((about.get(key) or {}).get("value"))
        for key in ("LicenseShortName", "LicenseUrl", "Artist")
    )
    title = str(page.get("title", "")).removeprefix("File:")
    credit = f"“{title}” by {creator or 'unknown'}, {name or 'licence unknown'}"
    return Result(
        url,
        page_url=clean_text(info.get("descriptionurl")),
        licence=licence_name(licence_url, name),
        licence_url=licence_url,
        creator=creator,
        attribution=f"{credit}, via Wikimedia Commons",
    )
