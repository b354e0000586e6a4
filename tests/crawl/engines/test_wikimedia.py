"""Wikimedia Commons: results in order, their licences, and errors of the API."""

from __future__ import annotations

import pytest

from pipeline.crawl.engines.engine import Result
from pipeline.crawl.engines.wikimedia import Wikimedia
from tests.crawl.engines.answers import WIKIMEDIA
from tests.crawling import Ask, engine_error, last_query, serve_json
from tests.loopback import Server


def test_results_are_sorted_and_have_an_attribution(web: Server, ask: Ask) -> None:
    serve_json(web, "/w/api.php", WIKIMEDIA)
    page = ask(Wikimedia(web.url), query="kathak", number=1, offset=50)
    assert page.results == [
        Result(
            url="https://upload.example/1280px-First.jpg",
            page_url="https://commons.example/wiki/File:First.jpg",
            licence="by-sa",
            licence_url="https://creativecommons.org/licenses/by-sa/4.0",
            creator="R. Person",
            attribution="“First.jpg” by R. Person, CC BY-SA 4.0, via Wikimedia Commons",
        ),
        Result(
            url="https://upload.example/Second.png",
            page_url="https://commons.example/wiki/File:Second.png",
            licence="pdm",
            attribution="“Second.png” by unknown, Public domain, via Wikimedia Commons",
        ),
    ]
    assert (page.size, page.is_last) == (50, False)
    assert last_query(web)["gsroffset"] == "50"
    assert last_query(web)["gsrsearch"] == "kathak filetype:bitmap"


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (
            {"error": {"code": "ratelimited", "info": "too fast"}},
            "blocked",
            "request refused: ratelimited: too fast",
        ),
        (
            {"error": {"code": "badvalue", "info": "no such prop"}},
            "changed",
            "answer in an unknown format: badvalue: no such prop",
        ),
        (
            {"query": {"pages": {"1": {}}}},
            "changed",
            "answer in an unknown format: no list 'pages' in the response",
        ),
    ],
)
def test_an_error_of_the_api_says_what_it_is(
    web: Server, ask: Ask, answer: object, kind: str, text: str
) -> None:
    serve_json(web, "/w/api.php", answer)
    error = engine_error(ask, Wikimedia(web.url))
    assert (error.kind, str(error)) == (kind, text)


def test_no_results_are_an_empty_page(web: Server, ask: Ask) -> None:
    serve_json(web, "/w/api.php", {"batchcomplete": True})
    assert ask(Wikimedia(web.url)).results == []
