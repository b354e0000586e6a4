"""Bing: results in HTML, CAPTCHAs, changed pages and filters."""

from __future__ import annotations

import pytest

from pipeline.core.errors import PipelineError
from pipeline.crawl.engines.bing import Bing
from pipeline.crawl.engines.engine import Page, Result
from tests.crawling import Ask, bing_result, engine_error, last_query
from tests.loopback import Server


def test_results_are_read_and_broken_ones_are_skipped(web: Server, ask: Ask) -> None:
    items = [
        bing_result({"murl": "https://x.example/a.png?w=800&h=2", "purl": "https://x.example/p"}),
        bing_result({"murl": "https://x.example/படம்.webp"}),
        bing_result({"turl": "https://no.murl.example/"}),
        '<a class="iusc" m="{not json"></a>',
        '<a class="iusc" m="[1]"></a>',
        bing_result({"murl": 7}),
        bing_result({"murl": " https://x.example/half-\ud83d.jpg\n"}),
    ]
    web.serve("/images/async", f"<ul>{''.join(items)}</ul>".encode())
    page = ask(Bing(web.url), query="a & b", offset=40)
    assert page.results == [
        Result("https://x.example/a.png?w=800&h=2", page_url="https://x.example/p"),
        Result("https://x.example/படம்.webp"),
        Result("https://x.example/half-?.jpg"),
    ]
    assert (page.size, page.is_last) == (7, False)
    assert last_query(web) == {"q": "a & b", "first": "40"}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<div id='b_captcha'>Please solve the CAPTCHA</div>", "blocked"),
        (b"<p>We have detected unusual traffic from your network</p>", "blocked"),
        (b'<script>var x = {"murl": "http://x/a.jpg"}</script>', "changed"),
        (b"<a class='iusc' data-m='{}'><img src='t.jpg'></a>", "changed"),
    ],
)
def test_a_page_that_hides_its_results_is_an_error(
    web: Server, ask: Ask, body: bytes, kind: str
) -> None:
    web.serve("/images/async", body)
    assert engine_error(ask, Bing(web.url)).kind == kind


@pytest.mark.parametrize("body", [b"", b"<html><p>no results for that</p></html>", b"\xff\xfe\x00"])
def test_no_results_are_an_empty_page(web: Server, ask: Ask, body: bytes) -> None:
    web.serve("/images/async", body)
    assert ask(Bing(web.url)) == Page([], 0)


def test_filters(web: Server, ask: Ask) -> None:
    web.serve("/images/async", b"")
    ask(Bing(web.url, {"size": ">640x480", "license": "creativecommons"}))
    assert last_query(web)["qft"] == "+filterui:imagesize-custom_640_480+filterui:licenseType-Any"
    for filters in ({"colour": "red"}, {"type": "x"}, {"size": "big"}, {"size": ">1"}):
        with pytest.raises(PipelineError, match=r"crawl\.filters: "):
            Bing(web.url, filters)
