"""Politeness: robots.txt as in RFC 9309, opt-outs, rate limits and Retry-After."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline.core.errors import Rejected
from pipeline.core.params import Crawl, load_params
from pipeline.http.client import GuardedSession, Limits, get
from pipeline.http.robots import HostPoliteness, directives
from tests.conftest import ROOT
from tests.loopback import Answer, Server, hang, redirect, reset, serving, status

QUICK = Limits(timeout_s=2.0, tries=2, backoff_s=0.01, max_wait_s=0.5)


@pytest.fixture
def web() -> Iterator[Server]:
    with serving() as server:
        server.serve("/a", b"a")
        server.serve("/b/c", b"c")
        yield server


@pytest.fixture
def visit(web: Server) -> Iterator[Callable[..., bytes]]:
    """Give a function that downloads a path politely."""
    with GuardedSession("kalai-test", [web.host]) as session:
        made: dict[str, HostPoliteness] = {}

        def fetch(path: str, **options: Any) -> bytes:
            politeness = made.setdefault(
                str(options), HostPoliteness(session, QUICK, **({"delay_s": 0.0} | options))
            )
            return get(session, web.url + path, QUICK, politeness=politeness).body

        yield fetch


def refused(visit: Callable[..., bytes], path: str, **options: Any) -> Rejected:
    with pytest.raises(Rejected) as caught:
        visit(path, **options)
    return caught.value


@pytest.mark.parametrize(
    ("rules", "a", "b"),
    [
        ("", True, True),
        ("User-agent: *\nDisallow:\n", True, True),
        ("User-agent: *\nDisallow: /\n", False, False),
        ("User-agent: *\nDisallow: /b/\n", True, False),
        ("User-agent: *\nDisallow: /\nAllow: /b/\n", False, True),
        ("User-agent: *\nDisallow: /*/c$\n", True, False),
        ("User-agent: *\nDisallow: /\n\nUser-agent: kalai\nDisallow: /a\n", False, True),
        ("User-agent: KALAI\nDisallow: /a\n", False, True),
        ("User-agent: GPTBot\nDisallow: /\n", True, True),
        ("<html>not rules</html>\x00\xff", True, True),
    ],
)
def test_rules(web: Server, visit: Callable[..., bytes], rules: str, a: bool, b: bool) -> None:
    web.serve("/robots.txt", rules.encode("latin-1"))
    for path, allowed in (("/a", a), ("/b/c", b)):
        if allowed:
            assert visit(path)
        else:
            assert refused(visit, path).reason == "robots"
            assert not web.hits[path]
    assert web.hits["/robots.txt"] == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (status(404), None),
        (status(403), None),
        (status(401), None),
        (redirect("/b/c"), None),
        (status(500), "http-500"),
        (status(503), "http-503"),
        (status(429), "http-429"),
        (hang, "timeout"),
        (reset, "connection"),
        (redirect("/robots.txt"), "too-many-redirects"),
        (redirect("http://127.0.0.1:9/"), "private-address"),
    ],
)
def test_rules_that_cannot_be_read(
    web: Server, visit: Callable[..., bytes], answer: Answer, reason: str | None
) -> None:
    """A missing robots.txt allows all; one that fails to load allows nothing (RFC 9309, 2.3.1)."""
    web.answers["/robots.txt"] = answer
    if reason is None:
        assert visit("/a") == b"a"
    else:
        why = refused(visit, "/a")
        assert (why.reason, why.detail[:15]) == (reason, "its robots.txt:")
        assert not web.hits["/a"]


def test_a_huge_robots_txt_is_an_error(web: Server, visit: Callable[..., bytes]) -> None:
    web.serve("/robots.txt", b"# so long\n" * 100_000)
    assert refused(visit, "/a").reason == "too-large"


def test_robots_txt_is_read_once_by_many_threads(web: Server, visit: Callable[..., bytes]) -> None:
    threads = [threading.Thread(target=visit, args=("/a",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (web.hits["/robots.txt"], web.hits["/a"]) == (1, 8)


def test_a_crawl_delay_is_obeyed(web: Server, visit: Callable[..., bytes]) -> None:
    web.serve("/robots.txt", b"User-agent: *\nCrawl-delay: 0.2\n")
    started = time.monotonic()
    for _ in range(3):
        visit("/a")
    assert time.monotonic() - started >= 0.4
    web.serve("/robots.txt", b"User-agent: *\nCrawl-delay: 30\n")
    visit("/a", per_host=1)
    why = refused(visit, "/a", per_host=1)
    assert (why.reason, why.detail) == ("busy", "its next request is allowed in 30 s")


def test_retry_after_pauses_the_whole_host(web: Server, visit: Callable[..., bytes]) -> None:
    web.answers["/busy"] = status(503, Retry_After="20")
    assert refused(visit, "/busy").reason == "http-503"
    assert refused(visit, "/a").reason == "busy"
    assert not web.hits["/a"]


def test_concurrent_requests_are_limited(web: Server, visit: Callable[..., bytes]) -> None:
    def slow(exchange: Any) -> None:
        time.sleep(0.03)
        exchange.reply(b"slow")

    web.answers["/slow"] = slow
    threads = [
        threading.Thread(target=visit, args=("/slow",), kwargs={"per_host": 3}) for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert web.hits["/slow"] == 12
    assert web.most_at_once == 3


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("noai", ["noai"]),
        ("NoIndex, nofollow", ["noindex", "nofollow"]),
        ("googlebot: noindex, nofollow", []),
        ("googlebot: noindex, kalai: noai, noimageai", ["noai", "noimageai"]),
        ("*: none", ["none"]),
        ("unavailable_after: 25 Jun 2010 15:00:00 PST, noindex", None),
        ("max-image-preview: large, noimageindex", None),
        ("", [""]),
    ],
)
def test_directives_for_kalai(tag: str, expected: list[str] | None) -> None:
    if expected is None:
        assert tag.rpartition(", ")[2] in directives(tag)
    else:
        assert directives(tag) == expected


@pytest.mark.parametrize(
    ("headers", "opts_out"),
    [
        ({"X-Robots-Tag": "noimageai"}, True),
        ({"X-Robots-Tag": "noindex"}, True),
        ({"X-Robots-Tag": "noimageindex"}, True),
        ({"X-Robots-Tag": "nofollow, noarchive"}, False),
        ({"X-Robots-Tag": "otherbot: noai"}, False),
        ({"tdm-reservation": "1", "tdm-policy": "https://example.org/policy"}, True),
        ({"tdm-reservation": "0"}, False),
        ({}, False),
    ],
)
def test_opt_outs(
    web: Server, visit: Callable[..., bytes], headers: dict[str, str], opts_out: bool
) -> None:
    web.answers["/p"] = lambda exchange: exchange.reply(b"p", headers=headers)
    if opts_out:
        assert refused(visit, "/p").reason == "opt-out"
        assert web.hits["/p"] == 1
    else:
        assert visit("/p") == b"p"
    assert visit("/p", opt_out=False) == b"p"


def test_a_404_is_a_404_whatever_its_headers_are(web: Server, visit: Callable[..., bytes]) -> None:
    web.answers["/p"] = status(404, X_Robots_Tag="noindex")
    assert refused(visit, "/p").reason == "http-404"


def test_politeness_is_on_unless_params_say_otherwise() -> None:
    shipped = load_params(ROOT / "params.yaml").crawl
    for crawl in (shipped, Crawl(max_images=1, min_images=0)):
        assert crawl.robots and crawl.opt_out
        assert crawl.per_host <= 4
        assert crawl.host_delay_s > 0 and crawl.engine_delay_s >= 1
        assert crawl.backoff_s > 0 and crawl.max_wait_s > 0
        assert crawl.proxy is None and crawl.allow_hosts == []
