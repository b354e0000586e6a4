"""The search: icrawler's feeder and parser for any engine; images come in order of rank."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from icrawler import Feeder, Parser
from requests import Session

from pipeline.crawl.engines.engine import Engine, EngineError, Page, Result
from pipeline.crawl.quota import Quota

MAX_PAGES = 1_000  # for one query, since an engine may repeat itself for ever


@dataclass(frozen=True, slots=True)
class RankedResult:
    """A result, and where in the search it was found."""

    engine: str
    query: str
    rank: int  # among the results of the query, from 1
    result: Result


@dataclass(frozen=True)
class Stream:
    """The results of one query to one engine."""

    engine: Engine
    query: str


class SearchingCrawl(Protocol):
    """The part of the crawl that the parser uses."""

    quota: Quota

    def fetch_page(self, url: str) -> bytes:
        """Return the body of an engine's page. Raises EngineError if there is none."""

    def is_licensed(self, result: Result) -> bool:
        """Return whether the licence of a result allows the crawl to store its image."""

    def is_settled(self, result: Result) -> bool:
        """Return whether a search result needs no request because an earlier attempt settled it."""

    def fail(self, error: BaseException) -> None:
        """End the crawl with an error."""

    def dismiss(self) -> None:
        """Let each downloader thread end once the queue is empty."""


class StreamFeeder(Feeder):
    """Feeds the streams, then None, to the parser, which requests their pages as it needs them."""

    def feed(self, streams: Sequence[Stream]) -> None:
        """Put each stream into the queue, then None.

        None marks the end. A count of streams could not mark it, because icrawler's queue drops
        repeated streams.
        """
        for stream in streams:
            self.output(stream)
        self.output(None)


class StreamParser(Parser):
    """Reads pages of results as they are needed and lists their images in order of rank."""

    def __init__(self, threads: int, signal: Any, session: Session, crawl: SearchingCrawl) -> None:
        # Unbounded: the quota bounds what is listed, and icrawler's own queue loses what it
        # cannot put at once.
        super().__init__(threads, signal, session, out_queue=queue.Queue())
        self.crawl = crawl
        self.errors: list[tuple[Stream, EngineError]] = []
        self.found = 0
        self._given_up: set[str] = set()  # names of engines

    def worker_exec(self, **_: Any) -> None:
        """List images until the quota is full or the engines have no more results."""
        try:
            streams = list(iter(self.in_queue.get, None))
            seen: set[tuple[str, bool]] = set()  # URL, and whether its licence is accepted
            for found in interleaved([self._results(stream) for stream in streams]):
                self.found += 1
                # Two engines may find the same URL, and one of them may know an accepted licence.
                url, is_licensed = found.result.url, self.crawl.is_licensed(found.result)
                is_new = not {(url, is_licensed), (url, True)} & seen
                if is_new and not self.crawl.is_settled(found.result):
                    self.crawl.quota.enlist()
                    self.output(found)
                seen.add((url, is_licensed))
        except BaseException as error:
            self.crawl.fail(error)
        finally:
            self.crawl.dismiss()

    def _results(self, stream: Stream) -> Iterator[RankedResult]:
        seen: set[str] = set()
        offset = rank = 0
        for number in range(MAX_PAGES):
            if stream.engine.name in self._given_up or not self.crawl.quota.wait_until_short():
                return
            try:
                page = self._page(stream, number, offset)
            except EngineError as error:
                self.errors.append((stream, error))
                if error.kind != "changed":
                    self._given_up.add(stream.engine.name)
                return
            offset += page.size
            fresh = [result for result in page.results if result.url not in seen]
            for result in fresh:
                if result.url not in seen:
                    seen.add(result.url)
                    rank += 1
                    yield RankedResult(stream.engine.name, stream.query, rank, result)
            if page.is_last or not fresh:  # some engines repeat their last page for ever
                return

    def _page(self, stream: Stream, number: int, offset: int) -> Page:
        engine = stream.engine
        try:
            return engine.page(stream.query, number, offset, self.crawl.fetch_page)
        except EngineError as error:
            detail = error.detail.replace(engine.secret, "***") if engine.secret else error.detail
            where = f"page {number + 1} of {stream.query!r}"
            raise EngineError(error.kind, f"{detail} ({where})") from None


def interleaved(streams: Sequence[Iterator[RankedResult]]) -> Iterator[RankedResult]:
    """Yield the first result of each stream, then the second of each, and so on."""
    alive = list(streams)
    while alive:
        for stream in list(alive):
            found = next(stream, None)
            if found is None:
                alive.remove(stream)
            else:
                yield found
