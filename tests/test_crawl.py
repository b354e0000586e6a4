"""The crawl, for real: icrawler over a loopback web that answers as badly as webs do."""

from __future__ import annotations

import functools
import html
import io
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner, Result
from PIL import Image, ImageDraw

from pipeline import crawl
from pipeline.ledger import Attempt, read_ledger
from tests.loopback import Exchange, Server, serving

PER_PAGE = 20


@functools.cache
def picture(number: int, kind: str = "JPEG", side: int = 120) -> bytes:
    """Draw a picture that differs by number."""
    image = Image.new("RGB", (side, side), (number * 37 % 256, number * 91 % 256, 80))
    ImageDraw.Draw(image).text((5, 5), str(number), fill="white")
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def bing_page(urls: Sequence[str]) -> bytes:
    """Return results in the form that Bing's images/async has."""
    items = []
    for url in urls:
        told = {"purl": url.replace("/img/", "/page/"), "murl": url, "t": "a & b"}
        items.append(f'<a class="iusc" m="{html.escape(json.dumps(told))}"><img></a>')
    return f"<ul>{''.join(items)}</ul>".encode()


class World:
    """A search engine and an image host in one: `urls` are what it finds, by query."""

    def __init__(self, web: Server) -> None:
        self.web = web
        self.urls: dict[str, list[str]] = {}
        self.queries: list[str] = []
        web.answers["/images/async"] = self.search

    def search(self, exchange: Exchange) -> None:
        asked = parse_qs(urlsplit(exchange.path).query)
        query, first = asked["q"][0], int(asked["first"][0])
        self.queries.append(query)
        found = self.urls.get(query, self.urls.get("*", []))
        exchange.reply(bing_page(found[first : first + PER_PAGE]))

    def holds(self, count: int, query: str = "*") -> list[str]:
        """Hold `count` good pictures."""
        self.urls[query] = [
            self.web.serve(f"/img/{number}.jpg", picture(number)) for number in range(count)
        ]
        return self.urls[query]

    @property
    def image_hits(self) -> int:
        return sum(n for path, n in self.web.hits.items() if path.startswith("/img/"))


@pytest.fixture
def world() -> Iterator[World]:
    with serving() as web:
        yield World(web)


class Crawled:
    """What a crawl of kathak left, as seen from outside."""

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
        return {attempt.source_url for attempt in self.outcomes("stored")}


@pytest.fixture
def run(project: Callable[..., Path], world: World) -> Callable[..., Crawled]:
    """Give a function that crawls kathak with params changed, and checks what always holds."""

    def crawl_kathak(*options: str, **changes: Any) -> Crawled:
        settings = {
            "max_images": 20,
            "min_images": 1,
            "engine_url": world.web.url,
            "allow_hosts": [world.web.host],
            "timeout_s": 1.0,
        } | changes
        queries = settings.pop("queries", ["kathak dance"])
        folder = project(
            **{f"crawl.{key}": value for key, value in settings.items()},
            **{"dances.kathak.queries": queries},
        )
        before = set(threading.enumerate())
        result = CliRunner().invoke(crawl.main, ["kathak", *options])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        assert not [
            t for t in threading.enumerate() if t not in before and "process_request" not in t.name
        ]
        crawled = Crawled(folder, result)
        if crawled.folder.exists():
            assert not (crawled.folder / ".incoming").exists()
        return crawled

    return crawl_kathak


def test_exactly_what_was_asked(world: World, run: Callable[..., Crawled]) -> None:
    world.holds(60)
    crawled = run()
    assert crawled.exit_code == 0, crawled.output
    assert len(crawled.files) == 20
    assert crawled.urls == set(world.urls["*"][:20])
    assert world.image_hits == 20, "not one request too many"
    assert world.queries == ["kathak dance"]
    assert crawled.report == {
        "asked": 20,
        "stored": 20,
        "duplicates": 0,
        "refused": {},
        "licences": {"unknown": 20},
    }
    assert "kathak: asked 20, stored 20, refused 0, " in crawled.output.splitlines()[-1]


def test_a_second_run_asks_nothing(world: World, run: Callable[..., Crawled]) -> None:
    world.holds(60)
    first = run()
    asked, report = len(world.web.requests), first.report
    second = run()
    assert second.exit_code == 0
    assert len(world.web.requests) == asked
    assert (second.report, second.files) == (report, first.files)
