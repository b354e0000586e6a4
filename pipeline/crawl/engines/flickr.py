"""Flickr, which needs an API key in the environment variable FLICKR_APIKEY."""

from __future__ import annotations

import os
from typing import Any, Self
from urllib.parse import urlencode

from pipeline.core.errors import PipelineError
from pipeline.core.params import Crawl, Dance
from pipeline.crawl.engines.engine import Engine, EngineError, Fetch, Page, Result, home_url
from pipeline.crawl.engines.parsing import clean_text, json_object, licence_name, object_list

API_KEY = "FLICKR_APIKEY"  # the name that icrawler reads, too
_SIZES = ("url_l", "url_c", "url_z", "url_o")  # 1,024 pixels first: the original may be huge


class Flickr(Engine):
    """Flickr's API. Raises PipelineError if the environment has no API key."""

    name = "flickr"
    default_url = "https://api.flickr.com"

    def __init__(self, home: str = default_url) -> None:
        self.home = home
        self.secret = os.environ.get(API_KEY)
        if not self.secret:
            raise PipelineError(
                f"flickr: no API key; set the environment variable {API_KEY}, "
                "or remove flickr from the engines in params.yaml"
            )
        self._licences: dict[str, tuple[str | None, str | None]] = {}  # name and URL by number

    @classmethod
    def from_params(cls, key: str, dance: Dance, params: Crawl) -> Self:
        """Return the engine. Raises PipelineError if the environment has no API key."""
        return cls(home_url(params, cls.default_url))

    def page(self, query: str, number: int, offset: int, fetch: Fetch) -> Page:
        """Return a page, read from `photos.photo`; the first call also reads the licences."""
        if not self._licences:
            answer = self._call(fetch, "flickr.photos.licenses.getInfo").get("licenses")
            for item in object_list(answer, "license"):
                name, url = clean_text(item.get("name")), clean_text(item.get("url"))
                self._licences[str(item.get("id"))] = (licence_name(url, name), url)
        photos = self._call(
            fetch,
            "flickr.photos.search",
            text=query,
            page=number + 1,
            per_page=100,
            media="photos",
            content_types=0,
            extras=",".join(("license", "owner_name", *_SIZES)),
        ).get("photos")
        items = object_list(photos, "photo")
        results = [result for photo in items if (result := self._result(photo))]
        pages = photos.get("pages") if isinstance(photos, dict) else None
        return Page(results, len(items), is_last=isinstance(pages, int) and number + 1 >= pages)

    def _call(self, fetch: Fetch, method: str, **more: object) -> dict[str, Any]:
        """Return the answer of an API method. Raises EngineError if Flickr refuses the call."""
        values = {"method": method, "api_key": self.secret, "format": "json", "nojsoncallback": 1}
        answer = json_object(fetch(f"{self.home}/services/rest/?{urlencode(values | more)}"))
        if answer.get("stat") != "ok":
            raise EngineError("blocked", f"{answer.get('code')}: {answer.get('message')}")
        return answer

    def _result(self, photo: dict[str, Any]) -> Result | None:
        url = next((found for size in _SIZES if (found := clean_text(photo.get(size)))), None)
        if not url:
            return None
        licence, licence_url = self._licences.get(str(photo.get("license")), (None, None))
        creator = clean_text(photo.get("ownername"))
        return Result(
            url,
            page_url=f"https://www.flickr.com/photos/{photo.get('owner')}/{photo.get('id')}",
            licence=licence,
            licence_url=licence_url,
            creator=creator,
            attribution=f"“{photo.get('title') or 'Untitled'}” by {creator or 'unknown'}, Flickr",
        )
