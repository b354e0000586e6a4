"""The crawl, for real: icrawler over a loopback web that answers as badly as webs do."""

from __future__ import annotations

import functools
import hashlib
import html
import io
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from click.testing import CliRunner, Result
from PIL import Image, ImageDraw

from pipeline.core import progress
from pipeline.crawl import stage as crawl
from pipeline.dataset.ledger import TRANSIENT, Attempt, read_ledger
from tests.conftest import ROOT
from tests.loopback import (
    Answer,
    Exchange,
    Server,
    drip,
    hang,
    in_turn,
    redirect,
    reset,
    serving,
    status,
)

PER_PAGE = 20
SmallDisk = Callable[[Path, str], None]


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

    def map_threads(self, attempts: list[Attempt]) -> list[Attempt]:
        """Sort attempts as their pictures were asked for (stored they are as it happens)."""
        asked = [self.web.url + path for _, path, _ in self.web.requests]
        return sorted(attempts, key=lambda attempt: asked.index(attempt.source_url))

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


def settings(world: World, changes: dict[str, Any]) -> dict[str, Any]:
    """Return the params of a crawl of kathak in this world: quick to give up."""
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
    dance = {key: values.pop(key) for key in ("queries", "engines_of_it", "urls") if key in values}
    named = {"queries": "queries", "engines_of_it": "engines", "urls": "urls"}
    return {f"crawl.{key}": value for key, value in values.items()} | {
        f"dances.kathak.{named[key]}": value
        for key, value in ({"queries": ["kathak dance"]} | dance).items()
    }


@pytest.fixture
def run(project: Callable[..., Path], world: World) -> Callable[..., Crawled]:
    """Give a function that crawls kathak with params changed, and checks what always holds."""

    def crawl_kathak(*options: str, **changes: Any) -> Crawled:
        folder = project(**settings(world, changes))
        before = set(threading.enumerate())
        result = CliRunner().invoke(crawl.main, ["kathak", *options])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        assert "Traceback" not in result.output
        served = "process_request"  # the loopback's own
        left = [t for t in threading.enumerate() if t not in before and served not in t.name]
        assert left == []
        crawled = Crawled(folder, result)
        if crawled.folder.exists() and "another crawl" not in crawled.output:
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
    assert world.queries == ["kathak dance"], "one page is enough"
    assert crawled.report == {
        "asked": 20,
        "stored": 20,
        "duplicates": 0,
        "refused": {},
        "licences": {"unknown": 20},
    }
    assert "kathak: asked 20, stored 20, refused 0, " in crawled.output.splitlines()[-1]


def test_a_line_says_all_that_is_known(world: World, run: Callable[..., Crawled]) -> None:
    world.holds(3)
    world.web.answers["/img/0.jpg"] = redirect("/img/elsewhere.jpg")
    world.web.serve("/img/elsewhere.jpg", picture(0), Content_Type="image/jpeg")
    crawled = run(max_images=3, threads=1)
    asked = world.map_threads(crawled.attempts)
    first = asked[0]
    data = picture(0)
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
    assert [attempt.rank for attempt in asked] == [1, 2, 3]
    stored = crawled.folder / "images" / f"{first.sha256}.jpg"
    assert stored.read_bytes() == data


def test_a_second_run_asks_nothing(world: World, run: Callable[..., Crawled]) -> None:
    world.holds(60)
    first = run()
    asked, report = len(world.web.requests), first.report
    second = run()
    assert second.exit_code == 0
    assert len(world.web.requests) == asked
    assert (second.report, second.files) == (report, first.files)


def test_a_larger_wish_is_topped_up(world: World, run: Callable[..., Crawled]) -> None:
    world.holds(60)
    run(max_images=20)
    crawled = run(max_images=50)
    assert crawled.urls == set(world.urls["*"][:50])
    assert world.image_hits == 50, "what was there is not fetched again"
    smaller = run(max_images=10)
    assert len(smaller.files) == 50, "nothing is ever deleted"


@pytest.mark.parametrize("query", ["a&b=c", "#kathak", "1+1", "கதக் நடனம்", "कथक नृत्य", "100% “x”"])
def test_a_query_arrives_as_it_was_written(
    world: World, run: Callable[..., Crawled], query: str
) -> None:
    world.holds(2, query)
    assert run(queries=[query], max_images=2).exit_code == 0
    assert world.queries == [query]


def test_queries_take_turns(world: World, run: Callable[..., Crawled]) -> None:
    for base, query in enumerate(("one", "two", "three")):
        world.urls[query] = [
            world.web.serve(f"/img/{query}-{n}.jpg", picture(30 * base + n)) for n in range(30)
        ]
    world.urls["three"][5:] = world.urls["one"][:5]  # found by two queries: asked for once
    crawled = run(queries=["one", "two", "three"], max_images=15, threads=1)
    asked = world.map_threads(crawled.attempts)
    places = [(attempt.query, attempt.rank) for attempt in asked]
    assert places == [(query, rank) for rank in range(1, 6) for query in ("one", "two", "three")]


@pytest.mark.parametrize("threads", [1, 3, 16])
def test_the_set_is_chosen_by_rank_and_not_by_luck(
    world: World, run: Callable[..., Crawled], threads: int
) -> None:
    """Good, bad, slow and equal ones mixed: the first 20 good ones are taken, by any threads."""
    chance = random.Random(8)
    urls, good = [], []
    for number in range(80):
        path = f"/img/{number}.jpg"
        urls.append(world.web.url + path)
        kind = chance.choice(["good", "good", "missing", "html", "same", "flaky"])
        data = {"html": b"<html>", "same": picture(1000)}.get(kind, picture(number))
        good.append(None if kind in ("missing", "html") else hashlib.sha256(data).hexdigest())

        def answer(exchange: Exchange, data: bytes = data, kind: str = kind) -> None:
            time.sleep(random.random() * 0.03)  # not the seeded one: every run differs
            exchange.reply(data, 404 if kind == "missing" else 200)

        world.web.answers[path] = in_turn(status(503), answer) if kind == "flaky" else answer
    world.urls["*"] = urls
    crawled = run(threads=threads)
    first_good = list(dict.fromkeys(sha256 for sha256 in good if sha256))[:20]
    assert {Path(name).stem for name in crawled.files} == set(first_good)
    assert crawled.report["stored"] == 20


def test_exactly_n_of_n_in_twelve_runs(world: World, run: Callable[..., Crawled]) -> None:
    world.holds(45)
    for number in range(0, 45, 2):
        world.web.answers[f"/img/{number}.jpg"] = status(404)
    for _ in range(12):
        world.web.hits.clear()
        crawled = run(threads=16)
        assert len(crawled.files) == 20
        assert crawled.urls == set(world.urls["*"][1:40:2])
        assert world.image_hits == 40
        assert crawled.report["refused"] == {"http-404": 20}
        shutil.rmtree(crawled.folder)


# ---- the engine's faults


def page_of(world: World, first: int) -> Answer:
    return lambda exchange: exchange.reply(bing_page(world.urls["*"][first : first + PER_PAGE]))


CAPTCHA = b"<html><form action=/challenge>One last step: solve the <b>CAPTCHA</b></form></html>"
CHANGED = b'<html><a data-new=\'{"murl":"http://x/1.jpg"}\'><img src=1></a></html>'


@pytest.mark.parametrize(
    ("answer", "code", "words", "requests"),
    [
        (status(429), crawl.BLOCKED, "blocked: http-429", 3),
        (status(403), crawl.BLOCKED, "blocked: http-403", 1),
        (status(500), crawl.UNREACHABLE, "unreachable: http-500", 3),
        (hang, crawl.UNREACHABLE, "unreachable: timeout", 1),
        (reset, crawl.UNREACHABLE, "unreachable: connection", 3),
        (lambda e: e.reply(CAPTCHA), crawl.BLOCKED, "blocked: a captcha", 1),
        (lambda e: e.reply(CHANGED), crawl.CHANGED, "changed: pictures, but not", 1),
        (lambda e: e.reply(bing_page([])), crawl.NO_RESULTS, "no more results", 1),
        (lambda e: e.reply(b""), crawl.NO_RESULTS, "no more results", 1),
    ],
    ids=["429", "403", "500", "hang", "reset", "captcha", "changed", "none", "empty"],
)
def test_an_engine_that_gives_nothing(
    world: World,
    run: Callable[..., Crawled],
    answer: Answer,
    code: int,
    words: str,
    requests: int,
) -> None:
    world.web.answers["/images/async"] = answer
    crawled = run(min_images=5)
    assert crawled.exit_code == code, crawled.output
    assert "kathak: 0 pictures, fewer than crawl.min_images 5: " in crawled.output
    assert words in crawled.output
    assert world.web.hits["/images/async"] == requests
    assert (crawled.files, crawled.attempts, crawled.report["stored"]) == ([], [], 0)


def test_a_blocked_engine_is_left_alone(world: World, run: Callable[..., Crawled]) -> None:
    world.web.answers["/images/async"] = status(403)
    run(queries=["one", "two", "three"])
    assert world.web.hits["/images/async"] == 1


def test_a_page_cut_in_the_middle(world: World, run: Callable[..., Crawled]) -> None:
    world.holds(20)
    whole = bing_page(world.urls["*"])
    world.web.answers["/images/async"] = lambda e: e.reply(whole[: len(whole) // 2 + 30])
    crawled = run()
    assert crawled.exit_code == 0
    assert crawled.urls == set(world.urls["*"][: len(crawled.files)])
    assert 8 <= len(crawled.files) <= 10


def test_a_last_page_that_repeats(world: World, run: Callable[..., Crawled]) -> None:
    world.holds(30)
    last = page_of(world, 20)
    world.web.answers["/images/async"] = in_turn(page_of(world, 0), last, last)
    crawled = run(max_images=60)
    assert crawled.exit_code == 0
    assert len(crawled.files) == 30
    assert world.web.hits["/images/async"] == 3


def test_a_slow_second_page_is_waited_for(world: World, run: Callable[..., Crawled]) -> None:
    world.holds(40)

    def slow(exchange: Exchange) -> None:
        time.sleep(1.0)
        page_of(world, 20)(exchange)

    world.web.answers["/images/async"] = in_turn(page_of(world, 0), slow)
    assert len(run(max_images=40, timeout_s=3.0).files) == 40


@pytest.mark.parametrize(("min_images", "code"), [(10, 0), (30, crawl.TOO_FEW)])
def test_a_second_page_that_fails(
    world: World, run: Callable[..., Crawled], min_images: int, code: int
) -> None:
    world.holds(40)
    world.web.answers["/images/async"] = in_turn(page_of(world, 0), status(500))
    crawled = run(max_images=40, min_images=min_images)
    assert crawled.exit_code == code
    assert len(crawled.files) == 20, "what the first page gave stays"
    assert "http-500: Internal Server Error on page 2 of 'kathak dance'" in crawled.output
    assert "kathak: asked 40, stored 20, refused 0, " in crawled.output
    assert crawled.report["stored"] == 20


def test_one_engine_down_and_another_up(world: World, run: Callable[..., Crawled]) -> None:
    world.holds(10)
    world.web.answers["/v1/images/"] = status(500)
    crawled = run(engines=["openverse", "bing"], max_images=10)
    assert crawled.exit_code == 0
    assert len(crawled.files) == 10
    assert "warning: openverse: unreachable: http-500" in crawled.output


# ---- the pictures' faults


def encoded(kind: str, mode: str = "RGB", side: int = 120, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (side, side), 77 if mode == "L" else None).save(buffer, kind, **options)
    return buffer.getvalue()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def bomb() -> bytes:
    """A PNG of 30,000 by 30,000 pixels in a few bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + crc

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(9))), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def whole(body: bytes) -> Answer:
    return lambda exchange: exchange.reply(body)


def huge(exchange: Exchange) -> None:
    """Begin to send 200 MB, without saying how much it will be."""
    exchange.send_response(200)
    exchange.end_headers()
    exchange.close_connection = True
    for _ in range(2000):
        exchange.wfile.write(bytes(100_000))


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
SHORT = {"Content-Length": "5000", "Connection": "close"}
REFUSED: dict[str, tuple[Answer | str, str, int]] = {
    # name: (answer or URL, reason, requests)
    "404": (status(404), "http-404", 1),
    "403": (status(403), "http-403", 1),
    "410": (status(410), "http-410", 1),
    "503 for ever": (status(503), "http-503", 3),
    "429 for ever": (status(429), "http-429", 3),
    "hang": (hang, "timeout", 1),
    "drip of headers": (drip(HEAD * 9), "timeout", 1),
    "drip of body": (drip(HEAD + bytes(500)), "timeout", 1),
    "reset": (reset, "connection", 3),
    "short body": (lambda e: e.reply(picture(0), headers=SHORT), "connection", 3),
    "200 MB": (huge, "too-large", 1),
    "200 MB declared": (
        lambda e: e.reply(b"", headers={"Content-Length": "200000000"}),
        "too-large",
        1,
    ),
    "redirect loop": (redirect("/img/faulty.jpg"), "too-many-redirects", 6),
    "redirect to private": (redirect("http://127.0.0.1:9/"), "private-address", 1),
    "redirect to file": (redirect("file:///etc/passwd"), "scheme", 1),
    "truncated": (whole(picture(0)[:-400]), "truncated", 1),
    "html": (whole(b"<!DOCTYPE html><title>Not found</title>"), "not-an-image", 1),
    "empty": (whole(b""), "empty", 1),
    "svg": (whole(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "format", 1),
    "bomb": (whole(bomb()), "too-many-pixels", 1),
    "tiny": (whole(encoded("PNG", side=60)), "too-small", 1),
    "private": ("http://127.0.0.1:9/a.jpg", "private-address", 0),
    "metadata": ("http://169.254.169.254/latest/meta-data/", "private-address", 0),
    "mapped": ("http://[::ffff:127.0.0.1]:9/a.jpg", "private-address", 0),
    "file": ("file:///etc/passwd", "scheme", 0),
    "data": ("data:image/png;base64,iVBORw0KGgo=", "scheme", 0),
    "no url": ("http://[half", "invalid-url", 0),
    "no such host": ("http://no-such-host.invalid/a.jpg", "dns", 0),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_picture_is_a_line_with_a_reason(
    world: World, run: Callable[..., Crawled], name: str
) -> None:
    answer, reason, requests = REFUSED[name]
    world.holds(30)
    url = answer if isinstance(answer, str) else world.web.url + "/img/faulty.jpg"
    if not isinstance(answer, str):
        world.web.answers["/img/faulty.jpg"] = answer
    world.urls["*"].insert(1, url)
    crawled = run(max_images=5, max_bytes=1_000_000)
    assert crawled.exit_code == 0, crawled.output
    assert len(crawled.files) == 5, "the next in rank takes its place"
    (refused,) = crawled.outcomes("refused")
    assert (refused.source_url, refused.rank, refused.reason) == (url, 2, reason)
    assert crawled.report["refused"] == {reason: 1}
    assert world.web.hits["/img/faulty.jpg"] == requests
    assert len(crawled.outcomes("retry")) == max(0, requests - 1) * (reason in TRANSIENT)
    assert f"refused 1 ({reason} 1)" in crawled.output.splitlines()[-1]


def test_hosts_that_cannot_be_talked_to(world: World, run: Callable[..., Crawled]) -> None:
    world.holds(30)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and it does not listen
        closed = f"127.0.0.1:{unused.getsockname()[1]}"
        bad = {
            f"http://{closed}/a.jpg": "connection",
            f"https://{world.web.host}/a.jpg": "tls",  # it speaks no TLS
            "http://no-such-host.invalid/a.jpg": "dns",
        }
        world.urls["*"][1:1] = list(bad)
        crawled = run(max_images=5, allow_hosts=[world.web.host, closed])
        assert crawled.exit_code == 0, crawled.output
        assert len(crawled.files) == 5
        refused = {attempt.source_url: attempt.reason for attempt in crawled.outcomes("refused")}
        assert refused == bad
        assert [attempt.reason for attempt in crawled.outcomes("retry")] == ["connection"] * 2
        assert world.image_hits == 5
        hosts = run(max_images=6, allow_hosts=[world.web.host, closed]).outcomes("refused")
        assert len(hosts) == 6, "a host's bad day may be over in the next run"


STORED = {
    "gif": (encoded("GIF", "P"), ".gif", "GIF"),
    "animated gif": (
        encoded("GIF", "P", save_all=True, append_images=[Image.new("P", (120, 120), 9)]),
        ".gif",
        "GIF",
    ),
    "png": (encoded("PNG", "RGBA"), ".png", "PNG"),
    "cmyk": (encoded("JPEG", "CMYK"), ".jpg", "JPEG"),
    "exif": (encoded("JPEG", exif=turned()), ".jpg", "JPEG"),
    "webp": (encoded("WEBP"), ".webp", "WEBP"),
    "avif": (encoded("AVIF"), ".avif", "AVIF"),
}


@pytest.mark.parametrize("name", STORED)
def test_formats_are_told_by_content(world: World, run: Callable[..., Crawled], name: str) -> None:
    data, extension, kind = STORED[name]
    # everything in the name lies
    world.urls["*"] = [world.web.serve("/img/a.jpg;..%2F..%2Fx.exe", data, Content_Type="text/css")]
    crawled = run(max_images=1)
    assert crawled.files == [hashlib.sha256(data).hexdigest() + extension]
    assert crawled.attempts[0].format == kind


def test_what_recovers_is_stored(world: World, run: Callable[..., Crawled]) -> None:
    world.holds(5)
    good = world.web.answers["/img/0.jpg"]
    world.web.answers["/img/0.jpg"] = in_turn(status(503), status(503), good)
    good = world.web.answers["/img/1.jpg"]
    world.web.answers["/img/1.jpg"] = in_turn(status(429, Retry_After="1"), good)
    crawled = run(max_images=5)
    assert crawled.urls == set(world.urls["*"])
    retries = sorted((a.source_url[-5:], a.reason) for a in crawled.outcomes("retry"))
    assert retries == [("0.jpg", "http-503")] * 2 + [("1.jpg", "http-429")]
    moments = [at for at, path, _ in world.web.requests if path == "/img/1.jpg"]
    assert moments[1] - moments[0] >= 1.0, "Retry-After is kept"
    assert crawled.report["refused"] == {}


def test_a_host_that_asks_for_an_hour_is_left_alone(
    world: World, run: Callable[..., Crawled]
) -> None:
    world.holds(10)
    world.web.answers["/img/3.jpg"] = status(429, Retry_After="3600")
    crawled = run(max_images=5, min_images=5, threads=1)
    assert crawled.exit_code == crawl.TOO_FEW
    assert crawled.report["refused"] == {"busy": 6, "http-429": 1}
    assert world.image_hits == 4
    assert "refused 7 (busy 6, http-429 1)" in crawled.output


def test_equal_bytes_are_one_file_and_many_lines(world: World, run: Callable[..., Crawled]) -> None:
    world.holds(10)
    for number in range(4):
        world.web.serve(f"/img/{number}.jpg", picture(99))
    crawled = run(max_images=7)
    assert len(crawled.files) == 7
    assert len(crawled.attempts) == 10
    assert crawled.report["duplicates"] == 3
    same = [a for a in crawled.attempts if a.sha256 == hashlib.sha256(picture(99)).hexdigest()]
    assert sorted(a.outcome for a in same) == ["duplicate"] * 3 + ["stored"]


# ---- again, with what an earlier run or a person left


def test_a_deleted_file_is_restored(world: World, run: Callable[..., Crawled]) -> None:
    world.holds(30)
    first = run()
    (first.folder / "images" / first.files[3]).unlink()
    damaged = first.folder / "images" / first.files[5]
    damaged.write_bytes(damaged.read_bytes()[:10])
    again = run()
    assert again.files == first.files
    assert world.image_hits == 22
    assert damaged.stat().st_size > 10
    assert again.report["stored"] == 20


def test_a_changed_query_keeps_and_tops_up(world: World, run: Callable[..., Crawled]) -> None:
    world.holds(12, "old")
    world.urls["new"] = [world.web.serve(f"/img/n{n}.jpg", picture(500 + n)) for n in range(30)]
    assert len(run(queries=["old"]).files) == 12
    crawled = run(queries=["new"])
    assert len(crawled.files) == 20
    assert [a.query for a in crawled.outcomes("stored")].count("new") == 8


def test_what_was_refused_for_good_is_not_asked_again(
    world: World, run: Callable[..., Crawled]
) -> None:
    world.holds(10)
    world.web.answers["/img/0.jpg"] = status(404)
    world.web.answers["/img/1.jpg"] = status(500)
    world.web.serve("/img/2.jpg", encoded("PNG", side=80))
    assert run().report["refused"] == {"http-404": 1, "http-500": 1, "too-small": 1}
    world.web.serve("/img/1.jpg", picture(1))
    world.web.hits.clear()
    assert run().report["refused"] == {"http-404": 1, "too-small": 1}
    assert world.image_hits == 1, "a bad day passes, a refusal stays"
    assert run(min_side=70).report["refused"] == {"http-404": 1}, "a rule of ours was loosened"


def test_a_ledger_cut_in_the_middle_of_a_line(world: World, run: Callable[..., Crawled]) -> None:
    world.holds(30)
    first = run(threads=1)
    ledger = first.folder / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-40])
    assert len(first.attempts) == 19
    again = run()
    assert "the last line was cut short" in again.output
    assert (len(again.attempts), again.files) == (20, first.files)
    assert world.image_hits == 21


def test_a_ledger_that_is_none(world: World, run: Callable[..., Crawled]) -> None:
    world.holds(30)
    ledger = run().folder / "ledger.jsonl"
    ledger.write_text("{}\n" + ledger.read_text())
    crawled = run()
    assert crawled.exit_code == 1
    assert "ledger.jsonl: line 1: not an attempt" in crawled.output


def test_a_lost_folder_is_not_crawled_from_nothing(
    world: World, run: Callable[..., Crawled], tmp_path: Path
) -> None:
    world.holds(30)
    lock = {"stages": {"crawl@kathak": {"outs": [{"path": "data/x", "nfiles": 21}]}}}
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump(lock))
    lost = run()
    assert lost.exit_code == 1
    assert "dvc.lock records 21 files; get them back with `dvc checkout`" in lost.output
    assert not world.web.requests
    assert run("--anew").exit_code == 0
    assert run().exit_code == 0, "the folder has pictures again"


def test_an_unknown_dance(run: Callable[..., Crawled]) -> None:
    result = CliRunner().invoke(crawl.main, ["odissi"])
    assert result.exit_code == 1


# ---- the machine's faults


class Started:
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
        pytest.fail(f"no {count} files came")


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGINT, crawl.INTERRUPTED, "interrupted"),
        (signal.SIGTERM, crawl.TERMINATED, "termi"),
    ],
)
def test_an_orderly_end(
    project: Callable[..., Path],
    world: World,
    run: Callable[..., Crawled],
    number: int,
    code: int,
    word: str,
) -> None:
    world.holds(30)
    for stuck in (6, 9):
        world.web.answers[f"/img/{stuck}.jpg"] = hang
    started = Started(project(**settings(world, {"timeout_s": 60.0})))
    started.wait_for_files(18)
    moment = time.monotonic()
    started.process.send_signal(number)
    output, _ = started.process.communicate(timeout=10)
    assert time.monotonic() - moment < 2.5
    assert started.process.returncode == code, output
    assert f"error: {word}" in output
    assert "asked 20, stored 18" in output
    assert "Traceback" not in output
    attempts = read_ledger(started.ledger)
    assert {a.file_name for a in attempts} == {path.name for path in started.images.iterdir()}
    for stuck in (6, 9):
        world.web.serve(f"/img/{stuck}.jpg", picture(stuck))
    world.web.hits.clear()
    assert run().urls == set(world.urls["*"][:20])
    assert world.image_hits == 2


def test_a_kill_loses_nothing(
    project: Callable[..., Path], world: World, run: Callable[..., Crawled]
) -> None:
    world.holds(60)
    for number in range(60):

        def slow(exchange: Exchange, data: bytes = picture(number)) -> None:
            time.sleep(0.02)
            exchange.reply(data)

        world.web.answers[f"/img/{number}.jpg"] = slow
    for files in (3, 11, 27):
        started = Started(project(**settings(world, {"max_images": 40, "threads": 4})))
        started.wait_for_files(files)
        started.process.kill()
        started.process.communicate(timeout=10)
        lines = {a.sha256 for a in read_ledger(started.ledger)}
        assert {path.stem for path in started.images.iterdir()} <= lines
    crawled = run(max_images=40)
    assert crawled.exit_code == 0
    assert crawled.urls == set(world.urls["*"][:40])
    for name in crawled.files:
        data = (crawled.folder / "images" / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == Path(name).stem
    assert world.image_hits <= 40 + 3 * 5, "only what was under way is asked for again"


def test_two_crawls_of_one_dance_at_once(
    project: Callable[..., Path], world: World, run: Callable[..., Crawled]
) -> None:
    world.holds(30)
    for number in range(30):

        def slow(exchange: Exchange, data: bytes = picture(number)) -> None:
            time.sleep(0.05)
            exchange.reply(data)

        world.web.answers[f"/img/{number}.jpg"] = slow
    first = Started(project(**settings(world, {"max_images": 30, "threads": 1})))
    first.wait_for_files(2)
    second = run(max_images=30)
    assert second.exit_code == 1
    assert second.output.count("\n") == 1
    assert "crawl/kathak: another crawl is at work here" in second.output
    output, _ = first.process.communicate(timeout=30)
    assert first.process.returncode == 0, output
    assert second.urls == set(world.urls["*"])
    assert world.image_hits == 30, "the second asked for nothing"
    assert run(max_images=30).exit_code == 0


def test_a_full_disk(
    world: World, run: Callable[..., Crawled], tmp_path: Path, small_disk: SmallDisk
) -> None:
    world.holds(60)
    folder = tmp_path / "data/dances/crawl/kathak"
    small_disk(folder, "size=64k")
    crawled = run(max_images=60)
    assert crawled.exit_code == 1
    assert "No space left on device" in crawled.output
    attempts = crawled.attempts
    assert {a.file_name for a in attempts if a.outcome == "stored"} == set(crawled.files)
    assert len(crawled.files) > 3
    subprocess.run(["mount", "-o", "remount,size=1m", str(folder)], check=True)
    again = run(max_images=60)
    assert again.exit_code == 0
    assert len(again.files) == 60


def test_a_folder_that_cannot_be_written(
    world: World, run: Callable[..., Crawled], tmp_path: Path, small_disk: SmallDisk
) -> None:
    world.holds(60)
    folder = tmp_path / "data/dances/crawl/kathak"
    small_disk(folder, "ro")
    crawled = run()
    assert crawled.exit_code == 1
    assert str(Path("crawl/kathak")) in crawled.output
    assert "Read-only file system" in crawled.output
    assert not world.web.requests
    assert not list(folder.iterdir())


def test_a_fault_of_ours_ends_the_crawl_at_once(
    world: World, run: Callable[..., Crawled], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No exception in a thread is lost, and none leaves the others waiting."""
    world.holds(60)

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("pipeline.crawl.crawler.verify", broken)
    with pytest.raises(AssertionError, match="kathak: asked 20, stored 0"):
        run()  # its own check: the fault is no clean exit
    assert threading.active_count() < 20


def test_the_last_line_has_the_top_three_reasons() -> None:
    refused = {"robots": 1, "http-404": 20, "too-small": 3, "tls": 2}
    line = crawl.last_line("kathak", {"asked": 600, "stored": 574, "refused": refused}, 61.25)
    assert line == (
        "kathak: asked 600, stored 574, refused 26 (http-404 20, too-small 3, tls 2, ...), 61.2 s"
    )


def test_progress_is_plain_lines_where_there_is_no_terminal(
    world: World, run: Callable[..., Crawled], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    world.holds(9)
    world.web.answers["/img/0.jpg"] = world.web.answers["/img/1.jpg"] = status(404)
    world.web.serve("/img/2.jpg", b"")
    lines = run(max_images=6, threads=1).output.splitlines()
    shown = [line for line in lines if line.startswith("crawl kathak: ")]
    assert re.fullmatch(r"crawl kathak: 6/6 img, [\d.]+ img/s, http-404 2, empty 1", shown[-1]), (
        shown
    )
    assert any(re.search(r"/6 img, [\d.]+ img/s, \d+ s left, http-404 2", line) for line in shown)


# ---- manners, as the stage has them


def test_robots_txt_is_asked_once_and_kept(world: World, run: Callable[..., Crawled]) -> None:
    world.holds(30)
    rules = b"User-agent: *\nDisallow: /img/1\n\nUser-agent: other\nDisallow: /\n"
    world.web.serve("/robots.txt", rules)
    crawled = run(max_images=10)
    assert crawled.report["refused"] == {"robots": 11}  # 1 and 10 to 19
    assert world.web.hits["/robots.txt"] == 1
    assert not world.web.hits["/img/1.jpg"]
    assert len(crawled.files) == 10
    world.web.hits.clear()
    crawled = run(max_images=21, robots=False)
    assert crawled.report["refused"] == {}, "what was refused by a rule is asked again without it"
    assert len(crawled.files) == 21
    assert not world.web.hits["/robots.txt"]


@pytest.mark.parametrize("header", [{"X_Robots_Tag": "noai"}, {"TDM_Reservation": "1"}])
def test_an_opt_out_is_respected(
    world: World, run: Callable[..., Crawled], header: dict[str, str]
) -> None:
    world.holds(30)
    world.web.serve("/img/0.jpg", picture(0), **header)
    crawled = run(max_images=5)
    assert crawled.report["refused"] == {"opt-out": 1}
    assert len(crawled.files) == 5
    assert run(max_images=6).report["refused"] == {"opt-out": 1}
    assert run(max_images=7, opt_out=False).report["refused"] == {}


def test_one_host_is_not_overrun(world: World, run: Callable[..., Crawled]) -> None:
    world.holds(30)
    for number in range(30):

        def slow(exchange: Exchange, data: bytes = picture(number)) -> None:
            time.sleep(0.02)
            exchange.reply(data)

        world.web.answers[f"/img/{number}.jpg"] = slow
    run(max_images=12, per_host=2, host_delay_s=0.03)
    assert world.web.most_at_once <= 2
    moments = [at for at, path, _ in world.web.requests if path.startswith("/img/")]
    pauses = [later - sooner for sooner, later in itertools.pairwise(sorted(moments))]
    assert min(pauses) > 0.02


def test_an_engine_is_not_overrun(world: World, run: Callable[..., Crawled]) -> None:
    world.holds(45)
    run(max_images=45, engine_delay_s=0.3)
    moments = [at for at, path, _ in world.web.requests if path.startswith("/images/")]
    assert len(moments) == 3
    assert min(later - sooner for sooner, later in itertools.pairwise(moments)) > 0.28


def test_we_say_who_we_are(world: World, run: Callable[..., Crawled]) -> None:
    world.holds(3)
    run(max_images=3, contact="https://example.org/us")
    agents = {headers["User-Agent"] for _, _, headers in world.web.requests}
    (agent,) = agents
    assert agent.startswith("kalai/")
    assert "+https://example.org/us" in agent


# ---- licences and several engines


def openverse(world: World, count: int) -> Answer:
    def answer(exchange: Exchange) -> None:
        results = [
            {
                "url": world.web.serve(f"/img/o{n}.jpg", picture(700 + n)),
                "foreign_landing_url": f"https://example.org/{n}",
                "license": ("by", "by-nc", "cc0")[n % 3],
                "license_url": "https://creativecommons.org/licenses/by/4.0/",
                "creator": f"Person {n}",
                "attribution": f"Picture {n} by Person {n}",
            }
            for n in range(count)
        ]
        exchange.reply(json.dumps({"page_count": 1, "results": results}).encode())

    return answer


def test_engines_take_turns_and_say_the_licence(world: World, run: Callable[..., Crawled]) -> None:
    world.holds(10)
    world.web.answers["/v1/images/"] = openverse(world, 6)
    crawled = run(engines=["bing", "openverse"], max_images=8, threads=1)
    asked = world.map_threads(crawled.attempts)
    places = [(attempt.engine, attempt.rank) for attempt in asked]
    assert places == [(engine, rank) for rank in range(1, 5) for engine in ("bing", "openverse")]
    second = asked[3]
    assert (second.licence, second.creator) == ("by-nc", "Person 1")
    assert second.attribution == "Picture 1 by Person 1"
    assert second.page_url == "https://example.org/1"
    assert crawled.report["licences"] == {"by": 2, "by-nc": 1, "cc0": 1, "unknown": 4}


def test_licences_can_be_demanded(world: World, run: Callable[..., Crawled]) -> None:
    world.holds(10)
    world.web.answers["/v1/images/"] = openverse(world, 6)
    demand = {"engines": ["bing", "openverse"], "licences": ["by", "cc0"]}
    crawled = run(**demand, max_images=4, threads=1)
    assert crawled.report["licences"] == {"by": 2, "cc0": 2}
    assert set(crawled.report["refused"]) == {"licence"}
    assert world.image_hits == 4, "what may not be stored is not fetched"
    assert "license=by%2Ccc0" in next(p for _, p, _ in world.web.requests if "/v1/" in p)
    more = run(engines=["bing", "openverse"], max_images=16, threads=1)
    assert more.report["refused"] == {}, "without the demand they may be had"


def test_licences_may_be_demanded_of_what_came_before(
    world: World, run: Callable[..., Crawled]
) -> None:
    """What has none stays on the disk and counts for nothing, until nothing is demanded again."""
    world.holds(10)
    world.web.answers["/v1/images/"] = openverse(world, 6)
    both = {"engines": ["bing", "openverse"], "threads": 1}
    first = run(**both, max_images=8)
    assert first.report["licences"] == {"by": 2, "by-nc": 1, "cc0": 1, "unknown": 4}
    before = first.files
    world.web.hits.clear()
    crawled = run(**both, max_images=4, licences=["by", "cc0"])
    assert crawled.exit_code == 0, crawled.output
    assert (crawled.report["stored"], crawled.report["licences"]) == (4, {"by": 2, "cc0": 2})
    assert set(crawled.report["refused"]) == {"licence"}
    assert world.image_hits == 1, "the one that was missing"
    assert set(before) < set(crawled.files)
    short = run(**both, max_images=6, min_images=6, licences=["by", "cc0"])
    assert short.exit_code == crawl.TOO_FEW
    again = run(**both, max_images=9)
    assert world.image_hits == 1
    assert again.report["stored"] == len(again.files) == 9
    assert again.report["refused"] == {"licence": 16 - 9}, "of those that never came"
    assert again.report["duplicates"] == 0


def test_the_same_picture_with_and_without_a_licence(
    world: World, run: Callable[..., Crawled]
) -> None:
    """Bing knows of no licence and Openverse does, of the very same address."""
    world.urls["*"] = [f"{world.web.url}/img/o{n}.jpg" for n in range(6)]
    world.web.answers["/v1/images/"] = openverse(world, 6)
    both = {"engines": ["bing", "openverse"], "max_images": 6, "min_images": 0}
    crawled = run(**both, licences=["by"])
    assert crawled.report["licences"] == {"by": 2}
    assert world.image_hits == 2
    crawled = run(**both, licences=["by", "cc0"])
    assert crawled.report["licences"] == {"by": 2, "cc0": 2}
    assert world.image_hits == 4
    crawled = run(**both)
    assert sum(crawled.report["licences"].values()) == 6
    assert crawled.report["refused"] == {}
    assert world.image_hits == 6, "no address is asked twice"


def test_a_list_of_urls(world: World, run: Callable[..., Crawled], tmp_path: Path) -> None:
    urls = world.holds(30)
    (tmp_path / "list.csv").write_text(
        "title,url,licence,creator\n" + "".join(f"x,{url},by,A. Person\n" for url in urls)
    )
    crawled = run(engines_of_it=["urls"], urls="list.csv", max_images=10, threads=1)
    asked = world.map_threads(crawled.attempts)
    assert [attempt.source_url for attempt in asked] == urls[:10]
    assert crawled.report["licences"] == {"by": 10}
    assert not world.queries


def test_engines_that_are_not_set_up(
    world: World, run: Callable[..., Crawled], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLICKR_APIKEY", raising=False)
    assert "set FLICKR_APIKEY" in run(engines=["flickr"]).output
    assert "dances.kathak.urls: missing" in run(engines=["urls"]).output
    assert "list.txt: no such list" in run(engines=["urls"], urls="list.txt").output
    google = run(engines=["google"])
    assert google.exit_code == 1
    assert "crawl.engines: no google: its result pages need a browser" in google.output
    assert "no baidu: it answers only to cookies of its own" in run(engines=["baidu"]).output
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
)
def test_a_key_is_never_told(
    world: World,
    run: Callable[..., Crawled],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    answer: Answer,
) -> None:
    monkeypatch.setenv("FLICKR_APIKEY", "very-secret")
    world.web.answers["/services/rest/"] = answer
    crawled = run(engines=["flickr"])
    assert crawled.exit_code in (crawl.UNREACHABLE, crawl.BLOCKED, crawl.CHANGED), crawled.output
    assert "api_key=very-secret" in world.web.requests[0][1]
    assert "flickr: " in crawled.output
    assert "very-secret" not in crawled.output
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"very-secret" not in path.read_bytes(), path


def test_bing_s_filters(world: World, run: Callable[..., Crawled]) -> None:
    world.holds(3)
    run(max_images=3, filters={"license": "commercial", "type": "photo"})
    asked = parse_qs(urlsplit(world.web.requests[0][1]).query)
    assert asked["qft"] == ["+filterui:license-L2_L3_L4+filterui:photo-photo"]
