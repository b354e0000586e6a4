"""Engines against answers of the form that each one documents, served over the loopback."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import PipelineError
from pipeline.crawl.engines import (
    Bing,
    Engine,
    EngineTrouble,
    Flickr,
    Openverse,
    Page,
    Result,
    UrlList,
    Wikimedia,
)
from pipeline.http.client import GuardedSession, get
from tests.loopback import Server, serving

Ask = Callable[..., Page]


@pytest.fixture
def web() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def ask(web: Server) -> Iterator[Ask]:
    """Give a function that asks an engine for a page, over HTTP."""
    with GuardedSession("kalai-test", [web.host]) as session:

        def page(engine: Engine, query: str = "kathak", number: int = 0, offset: int = 0) -> Page:
            return engine.page(query, number, offset, lambda url: get(session, url).body)

        yield page


def asked(web: Server) -> dict[str, str]:
    """Return what the last request asked for."""
    return {key: one for key, (one,) in parse_qs(urlsplit(web.requests[-1][1]).query).items()}


def trouble(ask: Ask, engine: Engine) -> EngineTrouble:
    with pytest.raises(EngineTrouble) as caught:
        ask(engine)
    return caught.value


def serve_json(web: Server, path: str, value: object) -> None:
    web.serve(path, json.dumps(value, ensure_ascii=False).encode())


# ---- Bing


def anchor(told: object) -> str:
    return f'<a class="iusc" m="{html.escape(json.dumps(told))}"><img class="mimg"></a>'


def test_bing(web: Server, ask: Ask) -> None:
    items = [
        anchor({"murl": "https://x.example/a.png?w=800&h=2", "purl": "https://x.example/p"}),
        anchor({"murl": "https://x.example/படம்.webp"}),
        anchor({"turl": "https://no.murl.example/"}),
        '<a class="iusc" m="{not json"></a>',
        '<a class="iusc" m="[1]"></a>',
        anchor({"murl": 7}),
        anchor({"murl": " https://x.example/half-\ud83d.jpg\n"}),
    ]
    web.serve("/images/async", f"<ul>{''.join(items)}</ul>".encode())
    page = ask(Bing(web.url), query="a & b", offset=40)
    assert page.results == [
        Result("https://x.example/a.png?w=800&h=2", page_url="https://x.example/p"),
        Result("https://x.example/படம்.webp"),
        Result("https://x.example/half-?.jpg"),
    ]
    assert (page.size, page.is_last) == (7, False)
    assert asked(web) == {"q": "a & b", "first": "40"}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<div id='b_captcha'>Please solve the CAPTCHA</div>", "blocked"),
        (b"<p>We have detected unusual traffic from your network</p>", "blocked"),
        (b'<script>var x = {"murl": "http://x/a.jpg"}</script>', "changed"),
        (b"<a class='iusc' data-m='{}'><img src='t.jpg'></a>", "changed"),
    ],
)
def test_bing_without_results(web: Server, ask: Ask, body: bytes, kind: str) -> None:
    web.serve("/images/async", body)
    assert trouble(ask, Bing(web.url)).kind == kind


@pytest.mark.parametrize("body", [b"", b"<html><p>no results for that</p></html>", b"\xff\xfe\x00"])
def test_bing_that_knows_nothing(web: Server, ask: Ask, body: bytes) -> None:
    web.serve("/images/async", body)
    assert ask(Bing(web.url)) == Page([], 0)


def test_bing_s_filters(web: Server, ask: Ask) -> None:
    web.serve("/images/async", b"")
    ask(Bing(web.url, {"size": ">640x480", "license": "creativecommons"}))
    assert asked(web)["qft"] == "+filterui:imagesize-custom_640_480+filterui:licenseType-Any"
    for filters in ({"colour": "red"}, {"type": "x"}, {"size": "big"}, {"size": ">1"}):
        with pytest.raises(PipelineError, match=r"crawl\.filters: "):
            Bing(web.url, filters)


# ---- Openverse

OPENVERSE = {
    "result_count": 240,
    "page_count": 12,
    "page_size": 20,
    "page": 1,
    "results": [
        {
            "id": "4bc43a04-ef46-4544-a0c1-63c63f56e276",
            "title": "Kathak",
            "foreign_landing_url": "https://www.flickr.com/photos/1/2",
            "url": "https://live.staticflickr.com/1/2_b.jpg",
            "creator": "A. Person",
            "creator_url": "https://www.flickr.com/photos/1",
            "license": "by-sa",
            "license_version": "2.0",
            "license_url": "https://creativecommons.org/licenses/by-sa/2.0/",
            "provider": "flickr",
            "attribution": '"Kathak" by A. Person is licensed under CC BY-SA 2.0.',
            "filetype": None,
            "height": 683,
            "width": 1024,
        },
        {"title": "without an address", "url": None},
    ],
}


def test_openverse(web: Server, ask: Ask) -> None:
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
    assert asked(web) == {"q": "கதக்", "page": "2", "page_size": "20"}
    assert ask(Openverse(web.url), number=11).is_last
    ask(Openverse(web.url, {"cc0", "by"}))
    assert asked(web)["license"] == "by,cc0"


def test_openverse_that_knows_nothing(web: Server, ask: Ask) -> None:
    serve_json(web, "/v1/images/", {"result_count": 0, "page_count": 0, "results": []})
    assert ask(Openverse(web.url)) == Page([], 0, is_last=True)


# ---- Wikimedia Commons


def commons(index: int, title: str, **info: Any) -> dict[str, Any]:
    return {"pageid": index, "ns": 6, "title": title, "index": index, "imageinfo": [info]}


WIKIMEDIA = {
    "batchcomplete": True,
    "continue": {"gsroffset": 50, "continue": "gsroffset||"},
    "query": {
        "pages": [
            commons(
                2,
                "File:Second.png",
                url="https://upload.example/Second.png",
                descriptionurl="https://commons.example/wiki/File:Second.png",
                extmetadata={
                    "LicenseShortName": {"value": "Public domain", "source": "x"},
                    "Artist": {"value": ""},
                },
            ),
            commons(
                1,
                "File:First.jpg",
                thumburl="https://upload.example/1280px-First.jpg",
                url="https://upload.example/First.jpg",
                descriptionurl="https://commons.example/wiki/File:First.jpg",
                extmetadata={
                    "LicenseShortName": {"value": "CC BY-SA 4.0"},
                    "LicenseUrl": {"value": "https://creativecommons.org/licenses/by-sa/4.0"},
                    "Artist": {"value": '<a href="//x"><bdi>R. <b>Person</b></bdi></a>'},
                },
            ),
            {"pageid": 3, "ns": 6, "title": "File:Deleted.jpg", "index": 3},
        ]
    },
}


def test_wikimedia(web: Server, ask: Ask) -> None:
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
    assert asked(web)["gsroffset"] == "50"
    assert asked(web)["gsrsearch"] == "kathak filetype:bitmap"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"error": {"code": "ratelimited", "info": "too fast"}}, "blocked"),
        ({"error": {"code": "badvalue", "info": "no such prop"}}, "changed"),
        ({"query": {"pages": {"1": {}}}}, "changed"),
    ],
)
def test_wikimedia_in_trouble(web: Server, ask: Ask, answer: object, kind: str) -> None:
    serve_json(web, "/w/api.php", answer)
    assert trouble(ask, Wikimedia(web.url)).kind == kind


def test_wikimedia_that_knows_nothing(web: Server, ask: Ask) -> None:
    serve_json(web, "/w/api.php", {"batchcomplete": True})
    assert ask(Wikimedia(web.url)).results == []


# ---- Flickr

FLICKR_LICENCES = {
    "licenses": {
        "license": [
            {"id": 0, "name": "All Rights Reserved", "url": ""},
            {"id": 5, "name": "BY-SA", "url": "https://creativecommons.org/licenses/by-sa/2.0/"},
            {"id": 9, "name": "CC0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"},
        ]
    },
    "stat": "ok",
}


def photo(number: int, licence: str, **sizes: str) -> dict[str, Any]:
    told = {"id": str(number), "owner": "1@N", "title": "T", "license": licence, "ownername": "O"}
    return told | sizes


@pytest.fixture
def flickr(web: Server, monkeypatch: pytest.MonkeyPatch) -> Flickr:
    monkeypatch.setenv("FLICKR_APIKEY", "very-secret")
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


def test_flickr(web: Server, ask: Ask, flickr: Flickr) -> None:
    page = ask(flickr, query="கதக்")
    assert [(result.url, result.licence) for result in page.results] == [
        ("https://l.example/1_b.jpg", "by-sa"),
        ("https://l.example/2_o.jpg", "all rights reserved"),
        ("https://l.example/4_z.jpg", None),
    ]
    assert page.results[0].page_url == "https://www.flickr.com/photos/1@N/1"
    assert page.results[0].creator == "O"
    assert (page.size, page.is_last) == (4, False)
    assert asked(web)["text"] == "கதக்"
    assert ask(flickr, number=1).is_last
    assert len(web.requests) == 3, "the licences are asked for once"


def test_flickr_refuses_a_key(web: Server, ask: Ask, flickr: Flickr) -> None:
    serve_json(web, "/services/rest/", {"stat": "fail", "code": 100, "message": "Invalid API Key"})
    why = trouble(ask, flickr)
    assert (why.kind, why.detail) == ("blocked", "100: Invalid API Key")


# ---- all that speak JSON


@pytest.mark.parametrize(
    ("engine", "path", "value"),
    [
        (Openverse, "/v1/images/", OPENVERSE),
        (Wikimedia, "/w/api.php", WIKIMEDIA),
        (Flickr, "/services/rest/", FLICKR_LICENCES),
    ],
)
def test_answers_that_are_damaged(
    web: Server,
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
    engine: Callable[[str], Engine],
    path: str,
    value: object,
) -> None:
    monkeypatch.setenv("FLICKR_APIKEY", "very-secret")
    body = json.dumps(value).encode()
    captcha = b"<html><h1>Are you a robot?</h1></html>"
    for damaged in (body[: len(body) // 2], b"", captcha, b"[]", b"null"):
        web.serve(path, damaged)
        assert trouble(ask, engine(web.url)).kind == "changed", damaged[:20]
    web.serve(path, b'{"stat": "ok"}')  # all that was known is called something else
    assert trouble(ask, engine(web.url)).kind == "changed"


QUERIES = ["a&b=c", "#kathak", "1+1", "கதக் நடனம்", "कथक नृत्य", "100% “x”"]


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_arrives_as_it_was_written(
    web: Server, ask: Ask, flickr: Flickr, query: str
) -> None:
    web.serve("/images/async", b"")
    serve_json(web, "/v1/images/", OPENVERSE)
    serve_json(web, "/w/api.php", WIKIMEDIA)
    for engine, named in ((Bing, "q"), (Openverse, "q"), (Wikimedia, "gsrsearch")):
        ask(engine(web.url), query)
        assert asked(web)[named].removesuffix(" filetype:bitmap") == query
    ask(flickr, query)
    assert asked(web)["text"] == query


# ---- lists


def test_a_text_file(ask: Ask, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# mine\nhttp://a/1.jpg\n\n  http://a/2.jpg  \n", encoding="utf-8")
    page = ask(UrlList(), query=str(path))
    assert page == Page([Result("http://a/1.jpg"), Result("http://a/2.jpg")], 2, is_last=True)


def test_tables(ask: Ask, tmp_path: Path) -> None:
    rows = [{"url": f"http://a/{n}", "licence": "by", "creator": None, "n": n} for n in range(700)]
    table = pa.Table.from_pylist([*rows, {"url": None}])
    pq.write_table(table, tmp_path / "list.parquet")
    lines = ["\ufeffurl,licence,n", *(f"http://a/{n},by,{n}" for n in range(700))]
    (tmp_path / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    for name in ("list.parquet", "list.csv"):
        engine = UrlList()
        first = ask(engine, query=str(tmp_path / name))
        second = ask(engine, query=str(tmp_path / name), number=1, offset=500)
        found = [*first.results, *second.results]
        assert found == [Result(f"http://a/{n}", licence="by") for n in range(700)]
        assert (first.is_last, second.is_last) == (False, True)


def test_lists_that_are_none(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("link,licence\nhttp://a,by\n")
    with pytest.raises(PipelineError, match=r"a\.csv: no column url; it has: link, licence"):
        ask(UrlList(), query=str(tmp_path / "a.csv"))
    with pytest.raises(PipelineError, match="no such list"):
        ask(UrlList(), query=str(tmp_path / "b.csv"))
    (tmp_path / "c.parquet").write_bytes(b"PAR1")
    with pytest.raises(PipelineError, match=r"c\.parquet: not a Parquet file"):
        ask(UrlList(), query=str(tmp_path / "c.parquet"))
