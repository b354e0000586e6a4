"""The stage crawl: params in, images, a ledger and a report out; errors and exit codes."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from click.testing import CliRunner

from pipeline.core import progress
from pipeline.crawl import stage
from tests.crawling import RunCrawl, World, bing_page, photo
from tests.loopback import Answer, drip, hang, in_turn, redirect, reset, status


def test_exactly_the_wanted_number_is_stored(world: World, run: RunCrawl) -> None:
    world.add_images(60)
    crawled = run()
    assert crawled.exit_code == 0, crawled.output
    assert len(crawled.files) == 20
    assert crawled.urls == set(world.urls["*"][:20])
    assert world.image_hits == 20, "not one request too many"
    assert world.queries == ["kathak dance"], "one page is enough"
    assert crawled.report == {
        "asked": 20,
        "stored": 20,
        "duplicates": 0,
        "refused": {},
        "licences": {"unknown": 20},
    }
    last = crawled.output.splitlines()[-1]
    assert re.fullmatch(r"kathak: 20 images stored, 20 wanted; 0 URLs refused; \d\.\d s", last)


def test_a_ledger_line_has_all_that_is_known(world: World, run: RunCrawl) -> None:
    world.add_images(3)
    world.web.answers["/img/0.jpg"] = redirect("/img/elsewhere.jpg")
    world.web.serve("/img/elsewhere.jpg", photo(0), Content_Type="image/jpeg")
    crawled = run(max_images=3, threads=1)
    attempts = world.in_request_order(crawled.attempts)
    first = attempts[0]
    data = photo(0)
    assert asdict(first) == {
        "time": first.time,
        "dance": "kathak",
        "engine": "bing",
        "query": "kathak dance",
        "rank": 1,
        "source_url": world.web.url + "/img/0.jpg",
        "page_url": world.web.url + "/page/0.jpg",
        "final_url": world.web.url + "/img/elsewhere.jpg",
        "status": 200,
        "content_type": "image/jpeg",
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "outcome": "stored",
        "reason": None,
        "detail": None,
        "format": "JPEG",
        "width": 120,
        "height": 120,
        "licence": None,
        "licence_url": None,
        "creator": None,
        "attribution": None,
    }
    assert datetime.fromisoformat(first.time).tzinfo is not None
    assert [attempt.rank for attempt in attempts] == [1, 2, 3]
    stored = crawled.folder / "images" / f"{first.sha256}.jpg"
    assert stored.read_bytes() == data


def test_requests_carry_the_user_agent_with_the_contact(world: World, run: RunCrawl) -> None:
    world.add_images(3)
    run(max_images=3, contact="https://example.org/us")
    agents = {headers["User-Agent"] for _, _, headers in world.web.requests}
    (agent,) = agents
    assert agent.startswith("kalai/")
    assert "+https://example.org/us" in agent


def test_filters_reach_bing(world: World, run: RunCrawl) -> None:
    world.add_images(3)
    run(max_images=3, filters={"license": "commercial", "type": "photo"})
    query = parse_qs(urlsplit(world.web.requests[0][1]).query)
    assert query["qft"] == ["+filterui:license-L2_L3_L4+filterui:photo-photo"]


# ---- too few images, and why

CAPTCHA = b"<html><form action=/challenge>One last step: solve the <b>CAPTCHA</b></form></html>"
CHANGED = b'<html><a data-new=\'{"murl":"http://x/1.jpg"}\'><img src=1></a></html>'
REFUSED = "bing: request refused: "
NO_ANSWER = "bing: no answer: "
NO_RESULTS = (
    "bing: no results for 'kathak dance' "
    "(its first page was empty; the engine may be rate-limiting you); use other queries or"
)


@pytest.mark.parametrize(
    ("answer", "code", "text", "requests"),
    [
        (status(429), stage.BLOCKED, f"{REFUSED}http-429: Too Many Requests (page 1 of 'kath", 3),
        (status(403), stage.BLOCKED, f"{REFUSED}http-403: Forbidden (page 1 of 'kathak", 1),
        (status(500), stage.UNREACHABLE, f"{NO_ANSWER}http-500: Internal Server Error (page 1", 3),
        (hang, stage.UNREACHABLE, f"{NO_ANSWER}timeout", 1),
        (reset, stage.UNREACHABLE, f"{NO_ANSWER}connection", 3),
        (lambda e: e.reply(CAPTCHA), stage.BLOCKED, f"{REFUSED}a CAPTCHA instead of results (", 1),
        (
            lambda e: e.reply(CHANGED),
            stage.CHANGED,
            "bing: answer in an unknown format: the page has images, but no <a class=iusc> element",
            1,
        ),
        (lambda e: e.reply(bing_page([])), stage.NO_RESULTS, NO_RESULTS, 1),
        (lambda e: e.reply(b""), stage.NO_RESULTS, NO_RESULTS, 1),
    ],
    ids=["429", "403", "500", "hang", "reset", "captcha", "changed", "none", "empty"],
)
def test_an_engine_without_results_has_its_exit_code_and_says_why(
    world: World, run: RunCrawl, answer: Answer, code: int, text: str, requests: int
) -> None:
    world.web.answers["/images/async"] = answer
    crawled = run(min_images=5)
    assert crawled.exit_code == code, crawled.output
    start = "error: kathak: 0 images stored, but crawl.min_images is 5: "
    assert f"{start}{text}" in crawled.output
    assert crawled.output.endswith(f"; {stage.ADVICE[code]}\n")
    assert world.web.hits["/images/async"] == requests
    assert (crawled.files, crawled.attempts, crawled.report["stored"]) == ([], [], 0)


def test_an_empty_list_of_urls_is_not_a_rate_limit(
    world: World, run: RunCrawl, tmp_path: Path
) -> None:
    (tmp_path / "list.txt").write_text("# none yet\n")
    crawled = run(own_engines=["urls"], urls="list.txt")
    assert crawled.exit_code == stage.NO_RESULTS
    assert "urls: no results for 'list.txt' (the list has no URLs)" in crawled.output


def test_too_few_good_images(world: World, run: RunCrawl) -> None:
    world.add_images(8)
    world.web.answers["/img/3.jpg"] = status(404)
    crawled = run(min_images=10)
    assert crawled.exit_code == stage.TOO_FEW
    assert crawled.output.endswith(
        "error: kathak: 7 images stored, but crawl.min_images is 10: "
        "the engines have no more than 8 results; "
        "add queries or engines, or lower crawl.min_images\n"
    )


@pytest.mark.parametrize(("min_images", "code"), [(10, 0), (30, stage.TOO_FEW)])
def test_a_second_page_that_fails_keeps_the_first(
    world: World, run: RunCrawl, min_images: int, code: int
) -> None:
    world.add_images(40)
    world.web.answers["/images/async"] = in_turn(world.results_from(0), status(500))
    crawled = run(max_images=40, min_images=min_images)
    assert crawled.exit_code == code
    assert len(crawled.files) == 20
    error = "bing: no answer: http-500: Internal Server Error (page 2 of 'kathak dance')"
    assert error in crawled.output
    assert (f"warning: {error}\n" in crawled.output) == (code == 0)
    assert "kathak: 20 images stored, 40 wanted; 0 URLs refused; " in crawled.output
    assert crawled.report["stored"] == 20


def test_an_engine_that_fails_is_a_warning_if_another_has_enough(
    world: World, run: RunCrawl
) -> None:
    world.add_images(10)
    world.web.answers["/v1/images/"] = status(500)
    crawled = run(engines=["openverse", "bing"], max_images=10)
    assert crawled.exit_code == 0
    assert len(crawled.files) == 10
    assert "warning: openverse: no answer: http-500" in crawled.output


# ---- wrong usage


def test_a_lost_folder_is_not_crawled_from_nothing(
    world: World, run: RunCrawl, tmp_path: Path
) -> None:
    world.add_images(30)
    lock = {"stages": {"crawl@kathak": {"outs": [{"path": "data/x", "nfiles": 21}]}}}
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump(lock))
    lost = run()
    assert lost.exit_code == 1
    assert "crawl/kathak/images: no images, but dvc.lock records 21 files; run `dv" in lost.output
    assert not world.web.requests
    assert run("--anew").exit_code == 0
    assert run().exit_code == 0, "the folder has images again"


def test_an_unknown_class_lists_the_known_ones(run: RunCrawl, world: World) -> None:
    world.add_images(3)
    run(max_images=3)
    result = CliRunner().invoke(stage.main, ["odisi"])
    assert result.exit_code == 1
    assert result.output.startswith("error: unknown dance 'odisi'; params.yaml has: ")
    assert "kathak" in result.output


def test_engines_that_lack_a_setting(
    world: World, run: RunCrawl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLICKR_APIKEY", raising=False)
    assert "set the environment variable FLICKR_APIKEY" in run(engines=["flickr"]).output
    assert "dances.kathak.urls: missing" in run(engines=["urls"]).output
    assert "list.txt: file not found" in run(engines=["urls"], urls="list.txt").output
    google = run(engines=["google"])
    assert google.exit_code == 1
    assert "crawl.engines: engine 'google' is not supported: its result pages" in google.output
    assert "crawl.filters: " in run(filters={"license": "none"}).output
    assert not world.web.requests


@pytest.mark.parametrize(
    "answer",
    [
        status(500),
        redirect("http://127.0.0.1:9/?api_key=very-secret"),
        lambda e: e.reply(json.dumps({"stat": "fail", "message": "bad very-secret"}).encode()),
        lambda e: e.reply(b"very-secret is no JSON"),
        drip(b"HTTP/1.1 200 very-secret\r\n"),
    ],
    ids=["500", "redirect", "message", "not-json", "status-line"],
)
def test_an_api_key_is_never_shown(
    world: World,
    run: RunCrawl,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    answer: Answer,
) -> None:
    monkeypatch.setenv("FLICKR_APIKEY", "very-secret")
    world.web.answers["/services/rest/"] = answer
    crawled = run(engines=["flickr"])
    assert crawled.exit_code in (stage.UNREACHABLE, stage.BLOCKED, stage.CHANGED), crawled.output
    assert "api_key=very-secret" in world.web.requests[0][1]
    assert "flickr: " in crawled.output
    assert "very-secret" not in crawled.output
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"very-secret" not in path.read_bytes(), path


# ---- what people see


def test_the_last_line_has_the_top_three_reasons() -> None:
    refused = {"robots": 1, "http-404": 20, "too-small": 3, "tls": 2}
    line = stage.last_line("kathak", {"asked": 600, "stored": 574, "refused": refused}, 61.25)
    assert line == (
        "kathak: 574 images stored, 600 wanted; "
        "26 URLs refused (http-404 20, too-small 3, tls 2, ...); 61.2 s"
    )


def test_without_a_terminal_progress_is_plain_lines(
    world: World, run: RunCrawl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    world.add_images(9)
    world.web.answers["/img/0.jpg"] = world.web.answers["/img/1.jpg"] = status(404)
    world.web.serve("/img/2.jpg", b"")
    lines = run(max_images=6, threads=1).output.splitlines()
    shown = [line for line in lines if line.startswith("crawl kathak: ")]
    assert re.search(r"6/6 .*, http-404 2, empty 1$", shown[-1]), shown
    assert any(re.search(r"/6 .*, \d+ s left, http-404 2", line) for line in shown)
