"""The search: icrawler's feeder and parser over any engines; pictures come in order of rank."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from icrawler import Feeder, Parser

from pipeline.core.errors import Rejected
from pipeline.crawl.engines import Engine, EngineTrouble, Page, Result
from pipeline.http.client import GuardedSession, get

if TYPE_CHECKING:
    from pipeline.crawl.crawler import Crawl

MAX_PAGES = 1_000  # of one query: an engine that never ends is ended


@dataclass(frozen=True, slots=True)
class Found:
    """A result with the place where it was found."""

    engine: str
    query: str
    rank: int
    result: Result


@dataclass(frozen=True)
class Stream:
    """One query to one engine."""

    engine: Engine
    query: str


class StreamFeeder(Feeder):
    """Feeds the streams; the parser asks for their pages as they are needed."""

    def feed(self, streams: Sequence[Stream]) -> None:
        """Put every stream."""
        for stream in streams:
            self.output(stream)


class StreamParser(Parser):
    """Reads result pages, on demand, and lists their pictures in order of rank."""

    def __init__(self, threads: int, signal: Any, session: GuardedSession, crawl: Crawl) -> None:
        # Unbounded, since the quota bounds what is listed; and icrawler's own queue loses what
        # it cannot put at once.
        super().__init__(threads, signal, session, out_queue=queue.Queue())
        self.crawl = crawl
        self.troubles: list[tuple[Stream, EngineTrouble]] = []
        self.found = 0
        self._given_up: set[str] = set()  # engines

    def worker_exec(self, **_: Any) -> None:
        """List pictures until the quota is full or the engines have no more."""
        try:
            streams = [self.in_queue.get() for _ in range(self.crawl.streams_count)]
            seen: set[tuple[str, bool]] = set()
            for found in interleaved([self._results(stream) for stream in streams]):
                self.found += 1
                # Of two engines that find the same, one may know a licence that is good enough.
                key = (found.result.url, self.crawl.rules.is_licensed(found.result.licence))
                is_new = key not in seen and (found.result.url, True) not in seen
                if is_new and not self.crawl.is_settled(found.result):
                    self.crawl.quota.enlist()
                    self.output(found)
                seen.add(key)
        except BaseException as error:
            self.crawl.fail(error)
        finally:
            self.crawl.dismiss()

    def _results(self, stream: Stream) -> Iterator[Found]:
        seen: set[str] = set()
        offset = rank = 0
        for number in range(MAX_PAGES):
            if stream.engine.name in self._given_up or not self.crawl.quota.wait_until_short():
                return
            try:
                page = self._page(stream, number, offset)
            except EngineTrouble as trouble:
                self.troubles.append((stream, trouble))
                if trouble.kind != "changed":
                    self._given_up.add(stream.engine.name)
                return
            offset += page.size
            fresh = [result for result in page.results if result.url not in seen]
            for result in fresh:
                if result.url not in seen:
                    seen.add(result.url)
                    rank += 1
                    yield Found(stream.engine.name, stream.query, rank, result)
            if page.is_last or not fresh:  # some engines repeat their last page for ever
                return

    def _page(self, stream: Stream, number: int, offset: int) -> Page:
        where = f"page {number + 1} of {stream.query!r}"

        def fetch(url: str) -> bytes:
            try:
                return get(
                    self.session,
                    url,
                    self.crawl.limits,
                    politeness=self.crawl.engine_politeness,
                    stop=self.crawl.stopping,
                ).body
            except Rejected as refusal:
                kind = "blocked" if refusal.reason in ("http-429", "http-403") else "unreachable"
                raise EngineTrouble(kind, str(refusal)) from refusal

        try:
            return stream.engine.page(stream.query, number, offset, fetch)
        except EngineTrouble as trouble:
            told = trouble.detail.replace(stream.engine.secret or "\0", "***")
            raise EngineTrouble(trouble.kind, f"{told} on {where}") from None


def interleaved(streams: Sequence[Iterator[Found]]) -> Iterator[Found]:
    """Yield the first of every stream, then the second of every stream, and so on."""
    alive = list(streams)
    while alive:
        for stream in list(alive):
            found = next(stream, None)
            if found is None:
                alive.remove(stream)
            else:
                yield found
