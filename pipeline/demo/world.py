"""The demo's world as values: search results, files, and the faults planted among them.

A world does not contain port numbers. `drawn_dances.py` and `drawn_archives.py` draw the content of
a small world; `folders.py` makes a world of real files. `web.py` serves it; `found.py` checks what
a run did with the faults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal, Protocol

SEARCH, ARCHIVES, INTRANET = "search", "archives", "intranet"
IMAGE_HOSTS = ("photos", "magazine", "festival")
HOSTS = (SEARCH, *IMAGE_HOSTS, ARCHIVES, INTRANET)
ROBOTS = b"User-agent: *\nDisallow: /*/private/\n"  # of every image host


class Fault(StrEnum):
    """A kind of planted fault; the value is its label in the table at the demo's end."""

    LATE = "HTTP 503 on the first request"
    SAME_BYTES = "same bytes at two URLs"
    RESCALED = "near-duplicate, rescaled"
    RECOMPRESSED = "near-duplicate, recompressed"
    TWO_LABELS = "one image, two labels"
    HTML = "HTML named .jpg"
    TRUNCATED = "truncated JPEG"
    BOMB = "decompression bomb"
    MISSING = "HTTP 404"
    ROBOTS = "forbidden by robots.txt"
    OPT_OUT = "forbidden by X-Robots-Tag"
    PRIVATE = "redirect to a private address"
    CUT = "download cut halfway"
    APPLE_DOUBLE = "AppleDouble file"
    CORRUPT = "corrupt pen file"
    SAME_STROKES = "same pen strokes twice"


@dataclass(frozen=True)
class Url:
    """An address without a port; `path` is quoted and includes the query string."""

    host: str
    path: str


@dataclass(frozen=True)
class Answer:
    """The response of a host to a path."""

    body: bytes | Path = b""
    content_type: str = "application/octet-stream"
    location: Url | str | None = None  # the target of a redirect
    headers: tuple[tuple[str, str], ...] = ()  # added to the usual ones
    stumbles: Literal["", "503", "cut"] = ""  # how the first request fails


@dataclass(frozen=True)
class Hit:
    """A search result: an image and the page that shows it."""

    image: Url
    page: Url
    title: str


@dataclass(frozen=True)
class Plant:
    """A fault planted among the images of a dance."""

    fault: Fault
    dance: str
    url: Url
    twin: Url | None = None  # the image that it is a copy of
    twin_dance: str = ""


@dataclass(frozen=True)
class Gallery:
    """Everything that the world holds for one dance."""

    main: tuple[Hit, ...]  # the results of a search for its name, in order
    stage: tuple[Hit, ...]  # the results of a search that also has the word "stage"
    answers: Mapping[tuple[str, str], Answer]  # by host and path
    storable: int  # number of images that a crawl can store, each once
    plants: tuple[Plant, ...] = ()
    sound: tuple[Url, ...] = ()  # images without a fault; no two of them are similar


class Dances(Protocol):
    """A source of images: drawn dances, or folders of real files."""

    def find(self, query: str) -> str | None:
        """Return the key of the dance that a query names; None if it names none."""

    def gallery(self, key: str) -> Gallery | None:
        """Return the images of a dance; None if there is no such dance."""


@dataclass(frozen=True)
class World:
    """Everything that can be requested over HTTP."""

    dances: Dances
    archives: Mapping[str, Answer]  # by file name

    def search(self, query: str) -> Sequence[Hit]:
        """Return all results of a query, in order."""
        key = self.dances.find(query)
        gallery = self.dances.gallery(key) if key else None
        if gallery is None:
            return ()
        return gallery.stage if "stage" in query.lower().split() else gallery.main

    def answer(self, url: Url) -> Answer | None:
        """Return the response at an address; None if there is nothing.

        On an image host, the first segment of a URL's path is the key of the dance that the image
        shows.
        """
        if url.host == ARCHIVES:
            return self.archives.get(url.path.removeprefix("/"))
        if url.host == INTRANET:
            return Answer(b"internal\n", "text/plain")
        if url.path == "/robots.txt":
            return Answer(ROBOTS, "text/plain")
        gallery = self.dances.gallery(url.path.split("/")[1])
        return gallery.answers.get((url.host, url.path)) if gallery else None
