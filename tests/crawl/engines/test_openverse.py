"""Openverse: results with their licences, filters and the last page."""

from __future__ import annotations

from pipeline.crawl.engines.engine import Page, Result
from pipeline.crawl.engines.openverse import Openverse
from tests.crawl.engines.answers import OPENVERSE
from tests.crawling import Ask, last_query, serve_json
from tests.loopback import Server


def test_results_have_licence_and_attribution(web: Server, ask: Ask) -> None:
    serve_json(web, "/v1/images/", OPENVERSE)
    page = ask(Openverse(web.url), query="கதக்", number=1, offset=20)
    assert page.results == [
        Result(
            url="https://live.staticflickr.com/1/2_b.jpg",
            page_url="https://www.flickr.com/photos/1/2",
            licence="by-sa",
            licence_url="https://creativecommons.org/licenses/by-sa/2.0/",
            creator="A. Person",
            attribution='"Kathak" by A. Person is licensed under CC BY-SA 2.0.',
        )
    ]
    assert (page.size, page.is_last) == (2, False)
    assert last_query(web) == {"q": "கதக்", "page": "2", "page_size": "20"}


def test_the_last_page_is_known(web: Server, ask: Ask) -> None:
    serve_json(web, "/v1/images/", OPENVERSE)
    assert ask(Openverse(web.url), number=11).is_last


def test_licences_are_part_of_the_query(web: Server, ask: Ask) -> None:
    serve_json(web, "/v1/images/", OPENVERSE)
    ask(Openverse(web.url, {"cc0", "by"}))
    assert last_query(web)["license"] == "by,cc0"


def test_no_results_are_an_empty_last_page(web: Server, ask: Ask) -> None:
    serve_json(web, "/v1/images/", {"result_count": 0, "page_count": 0, "results": []})
    assert ask(Openverse(web.url)) == Page([], 0, is_last=True)
