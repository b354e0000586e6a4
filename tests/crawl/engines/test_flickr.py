"""Flickr: an API key, a table of licences, and images of several sizes."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pipeline.core.errors import PipelineError
from pipeline.crawl.engines.flickr import API_KEY, Flickr
from tests.crawl.engines.answers import FLICKR_LICENCES
from tests.crawling import Ask, engine_error, last_query, serve_json
from tests.loopback import Server


def photo(number: int, licence: str, **sizes: str) -> dict[str, Any]:
    values = {"id": str(number), "owner": "1@N", "title": "T", "license": licence, "ownername": "O"}
    return values | sizes


@pytest.fixture
def flickr(web: Server, monkeypatch: pytest.MonkeyPatch) -> Flickr:
    monkeypatch.setenv(API_KEY, "very-secret")
    photos = [
        photo(1, "5", url_l="https://l.example/1_b.jpg", url_o="https://l.example/1_o.jpg"),
        photo(2, "0", url_o="https://l.example/2_o.jpg"),
        photo(3, "9"),
        photo(4, "77", url_z="https://l.example/4_z.jpg"),
    ]
    found = {"photos": {"page": 1, "pages": 2, "photo": photos}, "stat": "ok"}

    def answer(exchange: Any) -> None:
        method = parse_qs(urlsplit(exchange.path).query)["method"][0]
        value = FLICKR_LICENCES if method.endswith("getInfo") else found
        exchange.reply(json.dumps(value).encode())

    web.answers["/services/rest/"] = answer
    return Flickr(web.url)


def test_results_have_their_licence_and_best_size(web: Server, ask: Ask, flickr: Flickr) -> None:
    page = ask(flickr, query="கதக்")
    assert [(result.url, result.licence) for result in page.results] == [
        ("https://l.example/1_b.jpg", "by-sa"),
        ("https://l.example/2_o.jpg", "all rights reserved"),
        ("https://l.example/4_z.jpg", None),
    ]
    assert page.results[0].page_url == "https://www.flickr.com/photos/1@N/1"
    assert page.results[0].creator == "O"
    assert (page.size, page.is_last) == (4, False)
    assert last_query(web)["text"] == "கதக்"
    assert ask(flickr, number=1).is_last
    assert len(web.requests) == 3, "the licences are requested once"


def test_a_refused_key_blocks(web: Server, ask: Ask, flickr: Flickr) -> None:
    serve_json(web, "/services/rest/", {"stat": "fail", "code": 100, "message": "Invalid API Key"})
    error = engine_error(ask, flickr)
    assert (error.kind, error.detail) == ("blocked", "100: Invalid API Key")


def test_without_a_key_the_error_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(API_KEY, raising=False)
    with pytest.raises(PipelineError, match=r"^flickr: no API key; set .* FLICKR_APIKEY, or "):
        Flickr()
