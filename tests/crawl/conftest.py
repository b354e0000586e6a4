"""A loopback web, engines that are asked over it, and crawls of kathak in it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline.crawl.engines.engine import Engine, Page
from pipeline.crawl.stage import main
from pipeline.http.client import GuardedSession, get
from tests.crawling import Ask, Crawled, RunCrawl, World, crawl_params
from tests.loopback import Server, serving


@pytest.fixture
def web() -> Iterator[Server]:
    """Give a web server on the loopback."""
    with serving() as server:
        yield server


@pytest.fixture
def ask(web: Server) -> Iterator[Ask]:
    """Give a function that asks an engine for a page, over HTTP."""
    with GuardedSession("kalai-test", [web.host]) as session:

        def page(engine: Engine, query: str = "kathak", number: int = 0, offset: int = 0) -> Page:
            return engine.page(query, number, offset, lambda url: get(session, url).body)

        yield page


@pytest.fixture
def world(web: Server) -> World:
    """Give a search engine and an image host."""
    return World(web)


@pytest.fixture
def run(project: Callable[..., Path], world: World) -> RunCrawl:
    """Give a function that crawls kathak with changed params, and checks what always holds."""

    def crawl_kathak(*options: str, **changes: Any) -> Crawled:
        folder = project(**crawl_params(world, changes))
        before = set(threading.enumerate())
        result = CliRunner().invoke(main, ["kathak", *options])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        assert "Traceback" not in result.output
        of_server = "process_request"  # threads of the loopback server
        left = [t for t in threading.enumerate() if t not in before and of_server not in t.name]
        assert left == []
        crawled = Crawled(folder, result)
        if crawled.folder.exists() and "another crawl" not in crawled.output:
            assert not (crawled.folder / ".incoming").exists()
        return crawled

    return crawl_kathak
