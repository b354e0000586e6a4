"""The table of engines, and what holds for every engine in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from pipeline.core.errors import PipelineError
from pipeline.core.params import Crawl, Dance, EngineName, load_params
from pipeline.crawl.engines.registry import ENGINES, engines_for
from tests.crawl.engines.answers import FLICKR_LICENCES, OPENVERSE, WIKIMEDIA
from tests.crawling import Ask, engine_error, last_query, serve_json
from tests.loopback import Server

PARAMETERS = {"bing": "q", "openverse": "q", "wikimedia": "gsrsearch", "flickr": "text"}
QUERIES = ["a&b=c", "#kathak", "1+1", "கதக் நடனம்", "कथक नृत्य", "100% “x”"]
NAMES = get_args(EngineName)


@pytest.fixture(autouse=True)
def api_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLICKR_APIKEY", "very-secret")


def crawl_section(**values: Any) -> Crawl:
    return Crawl(max_images=1, min_images=0, **values)


def test_params_and_the_table_have_the_same_engines() -> None:
    assert sorted(ENGINES) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_engine_has_the_name_that_the_table_gives_it(name: EngineName) -> None:
    entry = Dance(label="Kathak", queries=["one", "two"], engines=[name], urls="list.txt")
    (engine,) = engines_for("kathak", entry, crawl_section())
    assert engine.name == name
    assert engine.queries(entry) == (["list.txt"] if name == "urls" else ["one", "two"])


def test_a_class_s_own_engines_come_first_and_each_is_made_once() -> None:
    entry = Dance(label="Kathak", queries=["one"], engines=["wikimedia", "bing", "wikimedia"])
    own = engines_for("kathak", entry, crawl_section(engines=["openverse"]))
    assert [engine.name for engine in own] == ["wikimedia", "bing"]
    entry = Dance(label="Kathak", queries=["one"])
    usual = engines_for("kathak", entry, crawl_section(engines=["openverse"]))
    assert [engine.name for engine in usual] == ["openverse"]


def test_the_engine_urls_needs_a_list() -> None:
    entry = Dance(label="Kathak", queries=["one"])
    with pytest.raises(PipelineError, match=r"^params\.yaml: dances\.kathak\.urls: missing; .*csv"):
        engines_for("kathak", entry, crawl_section(engines=["urls"]))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("yahoo", "unknown engine 'yahoo'; allowed: bing, openverse, wikimedia, flickr, urls"),
        ("google", "engine 'google' is not supported: its result pages need a browser"),
        ("baidu", "engine 'baidu' is not supported: it answers only requests that carry cookies"),
    ],
)
@pytest.mark.parametrize("key", ["crawl.engines", "dances.kathak.engines"])
def test_an_unknown_engine_is_refused_when_params_are_read(
    project: Callable[..., Path], key: str, name: str, message: str
) -> None:
    project(**{key: ["bing", name]})
    with pytest.raises(PipelineError) as caught:
        load_params()
    assert caught.value.message.startswith(f"params.yaml: {key}: {message}")
    assert caught.value.message.endswith("allowed: bing, openverse, wikimedia, flickr, urls")


API_PATHS = {"openverse": "/v1/images/", "wikimedia": "/w/api.php", "flickr": "/services/rest/"}
ANSWERS = {"openverse": OPENVERSE, "wikimedia": WIKIMEDIA, "flickr": FLICKR_LICENCES}


@pytest.mark.parametrize("name", API_PATHS)
def test_a_damaged_json_answer_is_an_unknown_format(
    web: Server, ask: Ask, name: EngineName
) -> None:
    entry = Dance(label="Kathak", queries=["one"], engines=[name])
    body = json.dumps(ANSWERS[name]).encode()
    captcha = b"<html><h1>Are you a robot?</h1></html>"
    # the last has known keys only, and none of those that hold results
    for damaged in (body[: len(body) // 2], b"", captcha, b"[]", b"null", b'{"stat": "ok"}'):
        web.serve(API_PATHS[name], damaged)
        (engine,) = engines_for("kathak", entry, crawl_section(engine_url=web.url))
        assert engine_error(ask, engine).kind == "changed", damaged[:20]


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_arrives_as_it_was_written(web: Server, ask: Ask, query: str) -> None:
    web.serve("/images/async", b"")
    photos = {"photos": {"photo": list[object]()}, **FLICKR_LICENCES}
    serve_json(web, "/v1/images/", OPENVERSE)
    serve_json(web, "/w/api.php", WIKIMEDIA)
    serve_json(web, "/services/rest/", photos)
    entry = Dance(
        label="Kathak", queries=[query], engines=["bing", "openverse", "wikimedia", "flickr"]
    )
    for engine in engines_for("kathak", entry, crawl_section(engine_url=web.url + "/")):
        ask(engine, query)
        received = last_query(web)[PARAMETERS[engine.name]]
        assert received.removesuffix(" filetype:bitmap") == query
