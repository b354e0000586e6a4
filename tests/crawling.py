"""A loopback web with a search engine and an image host, and crawls of one class in it."""

from __future__ import annotations

import functools
import html
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import Result

from pipeline.crawl.engines.engine import Engine, EngineError, Page
from pipeline.dataset.ledger import Attempt, read_ledger
from tests.conftest import ROOT
from tests.loopback import Answer, Exchange, Server
from tests.tables import drawn, encoded

PER_PAGE = 20
Ask = Callable[..., Page]  # asks an engine for a page over HTTP: the fixture `ask`
RunCrawl = Callable[..., "Crawled"]  # crawls kathak: the fixture `run`


@functools.cache
def photo(number: int, side: int = 120) -> bytes:
    """Return a JPEG; each number gives other bytes."""
    return encoded(drawn(number, (side, side)))


def bing_result(item: object) -> str:
    """Return a result as Bing's images/async writes it, with JSON in the attribute m."""
    return f'<a class="iusc" m="{html.escape(json.dumps(item))}"><img class="mimg"></a>'


def bing_page(urls: Sequence[str]) -> bytes:
    """Return a page of results as Bing's images/async writes it."""
    items = ({"purl": url.replace("/img/", "/page/"), "murl": url, "t": "a & b"} for url in urls)
    return f"<ul>{''.join(map(bing_result, items))}</ul>".encode()


class World:
    """A search engine and an image host in one: `urls` are what it finds, by query."""

    def __init__(self, web: Server) -> None:
        self.web = web
        self.urls: dict[str, list[str]] = {}
        self.queries: list[str] = []  # as they were received
        web.answers["/images/async"] = self._search

    def _search(self, exchange: Exchange) -> None:
        query = parse_qs(urlsplit(exchange.path).query)
        text, first = query["q"][0], int(query["first"][0])
        self.queries.append(text)
        urls = self.urls.get(text, self.urls.get("*", []))
        exchange.reply(bing_page(urls[first : first + PER_PAGE]))

    def results_from(self, first: int) -> Answer:
        """Return an answer with the results for any query from `first` on, whatever is asked."""
        return lambda exchange: exchange.reply(bing_page(self.urls["*"][first : first + PER_PAGE]))

    def add_images(self, count: int, query: str = "*", delay_s: float = 0.0) -> list[str]:
        """Find `count` good images for a query, each sent after a delay; return their URLs."""
        self.urls[query] = [
            self.web.serve(f"/img/{number}.jpg", photo(number)) for number in range(count)
        ]
        if delay_s:
            for number in range(count):
                self.web.answers[f"/img/{number}.jpg"] = after(
                    delay_s, self.web.answers[f"/img/{number}.jpg"]
                )
        return self.urls[query]

    def add_openverse(self, count: int) -> None:
        """Let Openverse find `count` good images, with the licences by, by-nc and cc0 in turn."""

        def answer(exchange: Exchange) -> None:
            results = [
                {
                    "url": self.web.serve(f"/img/o{number}.jpg", photo(700 + number)),
                    "foreign_landing_url": f"https://example.org/{number}",
                    "license": ("by", "by-nc", "cc0")[number % 3],
                    "license_url": "https://creativecommons.org/licenses/by/4.0/",
                    "creator": f"Person {number}",
                    "attribution": f"Image {number} by Person {number}",
                }
                for number in range(count)
            ]
            exchange.reply(json.dumps({"page_count": 1, "results": results}).encode())

        self.web.answers["/v1/images/"] = answer

    def in_request_order(self, attempts: list[Attempt]) -> list[Attempt]:
        """Sort attempts by when their URLs were requested; the ledger has another order."""
        requested = [self.web.url + path for _, path, _ in self.web.requests]
        return sorted(attempts, key=lambda attempt: requested.index(attempt.source_url))

    @property
    def image_hits(self) -> int:
        """How many requests for images there were."""
        return sum(count for path, count in self.web.hits.items() if path.startswith("/img/"))


def after(delay_s: float, answer: Answer) -> Answer:
    """Wait before an answer."""

    def late(exchange: Exchange) -> None:
        time.sleep(delay_s)
        answer(exchange)

    return late


class Crawled:
    """What a crawl of kathak left behind."""

    def __init__(self, folder: Path, result: Result) -> None:
        self.result = result
        self.folder = folder / "data/dances/crawl/kathak"
        self.report_path = folder / "data/dances/reports/crawl-kathak.json"

    @property
    def exit_code(self) -> int:
        return self.result.exit_code

    @property
    def output(self) -> str:
        return self.result.output

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "images").iterdir())

    @property
    def attempts(self) -> list[Attempt]:
        return read_ledger(self.folder / "ledger.jsonl")

    def outcomes(self, outcome: str) -> list[Attempt]:
        return [attempt for attempt in self.attempts if attempt.outcome == outcome]

    @property
    def report(self) -> dict[str, Any]:
        return json.loads(self.report_path.read_text())

    @property
    def urls(self) -> set[str]:
        """The URLs of the stored images."""
        return {attempt.source_url for attempt in self.outcomes("stored")}


def crawl_params(world: World, changes: dict[str, Any]) -> dict[str, Any]:
    """Return the params of a crawl of kathak in a world, by dotted key; it gives up quickly.

    `changes` has keys of the section crawl, and `queries`, `urls` and `own_engines` of the class.
    """
    values = {
        "max_images": 20,
        "min_images": 1,
        "engine_url": world.web.url,
        "allow_hosts": [world.web.host],
        "timeout_s": 0.6,
        "backoff_s": 0.01,
        "max_wait_s": 2.0,
        "per_host": 16,
        "host_delay_s": 0.0,
        "engine_delay_s": 0.0,
    } | changes
    entry: dict[str, Any] = {"dances.kathak.queries": ["kathak dance"]}
    for name, key in (("queries", "queries"), ("urls", "urls"), ("own_engines", "engines")):
        if name in values:
            entry[f"dances.kathak.{key}"] = values.pop(name)
    return {f"crawl.{key}": value for key, value in values.items()} | entry


class CrawlProcess:
    """A crawl in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.crawl", "kathak"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.images = folder / "data/dances/crawl/kathak/images"
        self.ledger = self.images.parent / "ledger.jsonl"

    def wait_for_files(self, count: int) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self.images.exists() and len(list(self.images.iterdir())) >= count:
                return
            time.sleep(0.005)
        pytest.fail(f"{count} files were not stored in time")


def last_query(web: Server) -> dict[str, str]:
    """Return the query parameters of the last request."""
    return {key: one for key, (one,) in parse_qs(urlsplit(web.requests[-1][1]).query).items()}


def engine_error(ask: Ask, engine: Engine) -> EngineError:
    """Ask an engine for a page and return the error that it raises."""
    with pytest.raises(EngineError) as caught:
        ask(engine)
    return caught.value


def serve_json(web: Server, path: str, value: object) -> None:
    """Answer `path` with JSON."""
    web.serve(path, json.dumps(value, ensure_ascii=False).encode())
