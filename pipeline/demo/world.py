"""What the demo's loopback web shows: what is searched, found, and planted wrong.

Nothing here knows a port: a world is values. `drawn_dances.py` and `drawn_archives.py` make the
small synthetic one, `folders.py` one of real files; `web.py` serves it, `found.py` looks for what
was planted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

SEARCH, ARCHIVES, INTRANET = "search", "archives", "intranet"
IMAGE_HOSTS = ("photos", "magazine", "festival")
HOSTS = (SEARCH, *IMAGE_HOSTS, ARCHIVES, INTRANET)
ROBOTS = b"User-agent: *\nDisallow: /*/private/\n"  # of every image host


@dataclass(frozen=True)
class Url:
    """An address before its host has a port; `path` is quoted and holds the query string."""

    host: str
    path: str


@dataclass(frozen=True)
class Answer:
    """What a host answers to a path."""

    body: bytes | Path = b""
    content_type: str = "application/octet-stream"
    location: Url | str | None = None  # redirects there
    headers: tuple[tuple[str, str], ...] = ()  # beside the usual ones
    stumbles: Literal["", "503", "cut"] = ""  # how the first request for it fails


@dataclass(frozen=True)
class Hit:
    """A search result: a picture and the page it is on."""

    image: Url
    page: Url
    title: str


@dataclass(frozen=True)
class Plant:
    """A fault that was planted in a dance: which, where, and what it is a copy of."""

    fault: str
    dance: str
    url: Url
    twin: Url | None = None  # the picture that it is a copy of
    twin_dance: str = ""


@dataclass(frozen=True)
class Gallery:
    """All that the world holds of one dance."""

    main: tuple[Hit, ...]  # what a search finds, in its order
    stage: tuple[Hit, ...]  # what a search with the word "stage" finds
    answers: Mapping[tuple[str, str], Answer]  # by host and path
    storable: int  # pictures that a crawl can store, each once
    plants: tuple[Plant, ...] = ()
    sound: tuple[Url, ...] = ()  # pictures with nothing wrong, each unlike all others


class Dances(Protocol):
    """Where pictures come from: drawn, or folders of real ones."""

    def find(self, query: str) -> str | None:
        """Return the key of the dance that a query names."""

    def gallery(self, key: str) -> Gallery | None:
        """Return what there is of a dance."""


@dataclass(frozen=True)
class World:
    """Everything that can be asked for over HTTP."""

    dances: Dances
    archives: Mapping[str, Answer]  # by file name

    def search(self, query: str) -> Sequence[Hit]:
        """Return all results of a query in their order."""
        key = self.dances.find(query)
        gallery = self.dances.gallery(key) if key else None
        if gallery is None:
            return ()
        return gallery.stage if "stage" in query.lower().split() else gallery.main

    def answer(self, url: Url) -> Answer | None:
        """Return what is at an address; None where nothing is.

        The first part of an image host's path is the dance.
        """
        if url.host == ARCHIVES:
            return self.archives.get(url.path.removeprefix("/"))
        if url.host == INTRANET:
            return Answer(b"for this machine's eyes only\n", "text/plain")
        if url.path == "/robots.txt":
            return Answer(ROBOTS, "text/plain")
        gallery = self.dances.gallery(url.path.split("/")[1])
        return gallery.answers.get((url.host, url.path)) if gallery else None
