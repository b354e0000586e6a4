"""Image search engines: which pages to ask, and what their answers say.

An engine asks for its pages through a function it is given and says what it knows of a picture
(its page, licence, creator); what it does not know is None. Licences are named as Openverse names
them: by, by-sa, by-nc, by-nd, by-nc-sa, by-nc-nd, cc0, pdm; others by their own words.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

from bs4 import BeautifulSoup
from icrawler.builtin.bing import BingFeeder

from pipeline.core.errors import PipelineError


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


Fetch = Callable[[str], bytes]  # an engine's page by its URL; raises EngineTrouble


class Engine(Protocol):
    """What a search engine can be asked."""

    name: str

    @property
    def secret(self) -> str | None:
        """What must never be shown."""

    def page(self, query: str, number: int, offset: int, fetch: Fetch) -> Page:
        """Return page `number` (from 0) of the answer, `offset` places after the first result.

        Raises EngineTrouble when the engine refuses or says nothing that is known.
        """


class Bing:
    """Bing's image search: HTML of `images/async`, with icrawler's filters."""

    name = "bing"
    secret = None
    _CAPTCHA = (b"captcha", b"unusual traffic", b"are you a robot", b"verify you are human")

    def __init__(self, home: str | None = None, filters: Mapping[str, str] | None = None) -> None:
        self.home = home or "https://www.bing.com"
        try:
            chosen = BingFeeder.get_filter(None).apply(dict(filters or {}))
        except (AssertionError, KeyError, ValueError) as error:
            why = error.args[0] if error.args else "not a size"
            raise PipelineError(f"params.yaml: crawl.filters: {why}") from error
        self.filters = {"qft": chosen} if chosen else {}

    def page(self, query: str, number: int, offset: int, fetch: Fetch) -> Page:
        """Read the JSON that each result carries in its attribute `m`."""
        asked = {"q": query, "first": offset} | self.filters
        body = fetch(f"{self.home}/images/async?{urlencode(asked)}")
        soup = BeautifulSoup(body, "lxml", from_encoding="utf-8")
        anchors = soup.select("a.iusc[m]")
        results = [
            Result(url, page_url=_text(told.get("purl")))
            for told in (_object(str(anchor["m"])) for anchor in anchors)
            if (url := _text(told.get("murl")))
        ]
        if not results:
            lowered = body[:200_000].lower()
            if any(mark in lowered for mark in self._CAPTCHA):
                raise EngineTrouble("blocked", "a captcha instead of results")
            if b"murl" in body or anchors or soup.select_one("a img"):
                raise EngineTrouble("changed", "pictures, but not in the form that is known")
        return Page(results, size=len(anchors))


class Openverse:
    """Openverse's API, anonymously: openly licensed pictures, 20 a page and 240 a query."""

    name = "openverse"
    secret = None

    def __init__(self, home: str | None = None, licences: Collection[str] = ()) -> None:
        self.home = home or "https://api.openverse.org"
        self.asked = {"license": ",".join(sorted(licences))} if licences else {}

    def page(self, query: str, number: int, offset: int, fetch: Fetch) -> Page:
        """Read `results`; each says all that an attribution needs."""
        asked = {"q": query, "page": number + 1, "page_size": 20} | self.asked
        told = _told(fetch(f"{self.home}/v1/images/?{urlencode(asked)}"))
        found = _objects(told, "results")
        results = [
            Result(
                url,
                page_url=_text(item.get("foreign_landing_url")),
                licence=_text(item.get("license")),
                licence_url=_text(item.get("license_url")),
                creator=_text(item.get("creator")),
                attribution=_text(item.get("attribution")),
            )
            for item in found
            if (url := _text(item.get("url")))
        ]
        pages = told.get("page_count")
        return Page(results, len(found), is_last=isinstance(pages, int) and number + 1 >= pages)


class Wikimedia:
    """Wikimedia Commons' API: full-text search among its bitmaps, at most 1,280 pixels wide."""

    name = "wikimedia"
    secret = None
    page_size = 50

    def __init__(self, home: str | None = None) -> None:
        self.home = home or "https://commons.wikimedia.org"

    def page(self, query: str, number: int, offset: int, fetch: Fetch) -> Page:
        """Read `query.pages`, which come in any order, by their `index`."""
        asked = {
            "action": "query",
            "format": "json",
            "formatversion": 2,
            "generator": "search",
            "gsrsearch": f"{query} filetype:bitmap",
            "gsrnamespace": 6,
            "gsrlimit": self.page_size,
            "gsroffset": offset,
            "prop": "imageinfo",
            "iiprop": "url|extmetadata",
            "iiurlwidth": 1280,
            "iiextmetadatafilter": "License|LicenseShortName|LicenseUrl|Artist",
        }
        told = _told(fetch(f"{self.home}/w/api.php?{urlencode(asked)}"))
        if isinstance(error := told.get("error"), dict):
            code = str(error.get("code"))
            kind = "blocked" if code in ("ratelimited", "maxlag", "blocked") else "changed"
            raise EngineTrouble(kind, f"{code}: {error.get('info')}")
        answer = told.get("query", {"pages": []} if "batchcomplete" in told else {})
        pages = sorted(_objects(answer, "pages"), key=lambda page: int(page.get("index", 0)))
        results = [result for page in pages if (result := self._result(page))]
        return Page(results, size=self.page_size, is_last="continue" not in told)

    @staticmethod
    def _result(page: dict[str, Any]) -> Result | None:
        info: dict[str, Any] = next(iter(page.get("imageinfo") or []), {})
        url = _text(info.get("thumburl")) or _text(info.get("url"))
        if not url:
            return None
        about = info.get("extmetadata") or {}
        name, licence_url, creator = (
            _plain((about.get(key) or {}).get("value"))
            for key in ("LicenseShortName", "LicenseUrl", "Artist")
        )
        title = str(page.get("title", "")).removeprefix("File:")
        credit = f"“{title}” by {creator or 'unknown'}, {name or 'licence unknown'}"
        return Result(
            url,
            page_url=_text(info.get("descriptionurl")),
            licence=_licence(licence_url, name),
            licence_url=licence_url,
            creator=creator,
            attribution=f"{credit}, via Wikimedia Commons",
        )


class Flickr:
    """Flickr's API; the key comes from the environment variable FLICKR_APIKEY, as icrawler's."""

    name = "flickr"
    _SIZES = ("url_l", "url_c", "url_z", "url_o")  # 1,024 pixels first: the original may be huge

    def __init__(self, home: str | None = None) -> None:
        self.home = home or "https://api.flickr.com"
        self.secret: str | None = os.environ.get("FLICKR_APIKEY")
        if not self.secret:
            raise PipelineError("flickr: set FLICKR_APIKEY to your key of Flickr's API")
        self._licences: dict[str, tuple[str | None, str | None]] = {}

    def page(self, query: str, number: int, offset: int, fetch: Fetch) -> Page:
        """Read `photos.photo`, and once the table of licences that its numbers stand for."""
        if not self._licences:
            told = self._ask(fetch, "flickr.photos.licenses.getInfo").get("licenses")
            for item in _objects(told, "license"):
                name, url = _text(item.get("name")), _text(item.get("url"))
                self._licences[str(item.get("id"))] = (_licence(url, name), url)
        photos = self._ask(
            fetch,
            "flickr.photos.search",
            text=query,
            page=number + 1,
            per_page=100,
            media="photos",
            content_types=0,
            extras=",".join(("license", "owner_name", *self._SIZES)),
        ).get("photos")
        found = _objects(photos, "photo")
        results = [result for photo in found if (result := self._result(photo))]
        pages = photos.get("pages") if isinstance(photos, dict) else None
        return Page(results, len(found), is_last=isinstance(pages, int) and number + 1 >= pages)

    def _ask(self, fetch: Fetch, method: str, **asked: object) -> dict[str, Any]:
        values = {"method": method, "api_key": self.secret, "format": "json", "nojsoncallback": 1}
        told = _told(fetch(f"{self.home}/services/rest/?{urlencode(values | asked)}"))
        if told.get("stat") != "ok":
            raise EngineTrouble("blocked", f"{told.get('code')}: {told.get('message')}")
        return told

    def _result(self, photo: dict[str, Any]) -> Result | None:
        url = next((found for size in self._SIZES if (found := _text(photo.get(size)))), None)
        if not url:
            return None
        licence, licence_url = self._licences.get(str(photo.get("license")), (None, None))
        creator = _text(photo.get("ownername"))
        return Result(
            url,
            page_url=f"https://www.flickr.com/photos/{photo.get('owner')}/{photo.get('id')}",
            licence=licence,
            licence_url=licence_url,
            creator=creator,
            attribution=f"“{photo.get('title') or 'Untitled'}” by {creator or 'unknown'}, Flickr",
        )


class UrlList:
    """A list of pictures: a text file of URLs, or a CSV or Parquet file with a column `url`.

    Columns named as the fields of `Result` are taken too. `query` is the file's path.
    """

    name = "urls"
    secret = None
    page_size = 500

    def __init__(self) -> None:
        self._rows: dict[str, Iterator[Mapping[str, Any]]] = {}

    def page(self, query: str, number: int, offset: int, fetch: Fetch) -> Page:
        """Read the next rows of the file; `fetch` is not needed."""
        if number == 0:
            self._rows[query] = _rows(Path(query))
        rows = list(itertools.islice(self._rows[query], self.page_size))
        fields = ("page_url", "licence", "licence_url", "creator", "attribution")
        results = [
            Result(url, **{name: _text(row.get(name)) for name in fields})
            for row in rows
            if (url := _text(row.get("url")))
        ]
        return Page(results, len(rows), is_last=len(rows) < self.page_size)


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a URL list. Raises PipelineError when it has no URLs to read."""
    if not path.is_file():
        raise PipelineError(f"{path}: no such list of URLs")
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.ParquetFile(path)
        except pa.ArrowException as error:
            raise PipelineError(f"{path}: not a Parquet file: {error}") from error
        _check_column(path, table.schema_arrow.names)
        for batch in table.iter_batches():
            yield from batch.to_pylist()
    elif path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            _check_column(path, reader.fieldnames or [])
            yield from reader
    else:
        with path.open(encoding="utf-8-sig") as file:
            for line in file:
                if line.strip() and not line.startswith("#"):
                    yield {"url": line}


def _check_column(path: Path, names: Sequence[str]) -> None:
    if "url" not in names:
        raise PipelineError(f"{path}: no column url; it has: {', '.join(names)}")


def _licence(url: str | None, name: str | None) -> str | None:
    """Name a licence as Openverse does, by its Creative Commons URL; others by their own words."""
    match = re.search(r"creativecommons\.org/(?:licenses|publicdomain)/([a-z-]+)", url or "")
    if match:
        return {"zero": "cc0", "mark": "pdm"}.get(match[1], match[1])
    if name and name.lower().startswith("public domain"):
        return "pdm"
    return name.lower() if name else None


def _told(body: bytes) -> dict[str, Any]:
    """Read an API's answer. Raises EngineTrouble when it is not a JSON object."""
    try:
        value = json.loads(body)
    except ValueError as error:
        raise EngineTrouble("changed", f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise EngineTrouble("changed", "JSON, but not an object")
    return value


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _objects(value: object, key: str) -> list[dict[str, Any]]:
    """Return the objects in a list inside an answer; raise EngineTrouble when it has none such."""
    items = value.get(key) if isinstance(value, dict) else None
    if not isinstance(items, list):
        raise EngineTrouble("changed", f"no list {key!r} in the answer")
    return [item for item in items if isinstance(item, dict)]


def _text(value: object) -> str | None:
    """Return text that can be written anywhere (JSON may hold half a surrogate), else None."""
    if not isinstance(value, str):
        return None
    return value.encode("utf-8", "replace").decode().strip() or None


def _plain(value: object) -> str | None:
    """Return text without the HTML that Commons wraps names in."""
    text = _text(value)
    if text and re.search("[<&]", text):
        return _text(BeautifulSoup(text, "lxml").get_text(" ", strip=True))
    return text
