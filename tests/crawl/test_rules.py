"""Rules of params.yaml: robots.txt, opt-outs, licences and sizes, and what changing them does."""

from __future__ import annotations

import pytest

from pipeline.crawl import stage
from tests.crawling import RunCrawl, World, photo
from tests.loopback import status

BOTH: dict[str, list[str]] = {"engines": ["bing", "openverse"]}


def test_robots_txt_is_requested_once_and_honoured(world: World, run: RunCrawl) -> None:
    world.add_images(30)
    rules = b"User-agent: *\nDisallow: /img/1\n\nUser-agent: other\nDisallow: /\n"
    world.web.serve("/robots.txt", rules)
    crawled = run(max_images=10)
    assert crawled.report["refused"] == {"robots": 11}  # 1 and 10 to 19
    assert world.web.hits["/robots.txt"] == 1
    assert not world.web.hits["/img/1.jpg"]
    assert len(crawled.files) == 10
    world.web.hits.clear()
    crawled = run(max_images=21, robots=False)
    assert crawled.report["refused"] == {}, "without the rule, the URLs are requested"
    assert len(crawled.files) == 21
    assert not world.web.hits["/robots.txt"]


@pytest.mark.parametrize("header", [{"X_Robots_Tag": "noai"}, {"TDM_Reservation": "1"}])
def test_an_opt_out_is_honoured(world: World, run: RunCrawl, header: dict[str, str]) -> None:
    world.add_images(30)
    world.web.serve("/img/0.jpg", photo(0), **header)
    crawled = run(max_images=5)
    assert crawled.report["refused"] == {"opt-out": 1}
    assert len(crawled.files) == 5
    assert run(max_images=6).report["refused"] == {"opt-out": 1}
    assert run(max_images=7, opt_out=False).report["refused"] == {}


def test_a_refusal_stays_and_a_transient_failure_passes(world: World, run: RunCrawl) -> None:
    world.add_images(10)
    world.web.answers["/img/0.jpg"] = status(404)
    world.web.answers["/img/1.jpg"] = status(500)
    assert run().report["refused"] == {"http-404": 1, "http-500": 1}
    world.web.serve("/img/1.jpg", photo(1))
    world.web.hits.clear()
    assert run().report["refused"] == {"http-404": 1}
    assert world.image_hits == 1


@pytest.mark.parametrize(
    ("rule", "strict", "loose", "reason"),
    [
        ("min_side", 121, 120, "too-small"),
        ("max_pixels", 120 * 120 - 1, 120 * 120, "too-many-pixels"),
        ("max_bytes", len(photo(0)) - 1, 1_000_000, "too-large"),
    ],
)
def test_a_rule_that_is_loosened_brings_the_image(
    world: World, run: RunCrawl, rule: str, strict: int, loose: int, reason: str
) -> None:
    world.urls["*"] = [world.web.serve("/img/0.jpg", photo(0))]
    for _ in range(2):  # the second run makes no request: the rule still refuses the image
        crawled = run(min_images=0, **{rule: strict})
        assert (crawled.report["refused"], crawled.files) == ({reason: 1}, [])
        assert world.image_hits == 1
    assert run(**{rule: loose}).report["stored"] == 1
    assert world.image_hits == 2


def test_images_without_an_accepted_licence_are_not_requested(world: World, run: RunCrawl) -> None:
    world.add_images(10)
    world.add_openverse(6)
    crawled = run(**BOTH, licences=["by", "cc0"], max_images=4, threads=1)
    assert crawled.report["licences"] == {"by": 2, "cc0": 2}
    assert set(crawled.report["refused"]) == {"licence"}
    details = {(a.licence, a.detail) for a in crawled.outcomes("refused")}
    assert details == {(None, "unknown"), ("by-nc", "by-nc")}
    assert world.image_hits == 4
    assert "license=by%2Ccc0" in next(p for _, p, _ in world.web.requests if "/v1/" in p)
    more = run(**BOTH, max_images=16, threads=1)
    assert more.report["refused"] == {}, "any licence is accepted again"


def test_licences_can_be_restricted_after_a_crawl(world: World, run: RunCrawl) -> None:
    """Stored images without an accepted licence stay on the disk and are not counted."""
    world.add_images(10)
    world.add_openverse(6)
    first = run(**BOTH, max_images=8, threads=1)
    assert first.report["licences"] == {"by": 2, "by-nc": 1, "cc0": 1, "unknown": 4}
    before = first.files
    world.web.hits.clear()
    crawled = run(**BOTH, max_images=4, licences=["by", "cc0"], threads=1)
    assert crawled.exit_code == 0, crawled.output
    assert (crawled.report["stored"], crawled.report["licences"]) == (4, {"by": 2, "cc0": 2})
    assert set(crawled.report["refused"]) == {"licence"}
    assert world.image_hits == 1, "the fourth image with an accepted licence"
    assert set(before) < set(crawled.files)
    short = run(**BOTH, max_images=6, min_images=6, licences=["by", "cc0"], threads=1)
    assert short.exit_code == stage.TOO_FEW
    again = run(**BOTH, max_images=9, threads=1)
    assert world.image_hits == 1
    assert again.report["stored"] == len(again.files) == 9
    assert again.report["refused"] == {"licence": 16 - 9}, "the images that were never stored"
    assert again.report["duplicates"] == 0


def test_one_url_with_and_without_a_licence(world: World, run: RunCrawl) -> None:
    """Bing gives no licence and Openverse gives one, for the same URL."""
    world.urls["*"] = [f"{world.web.url}/img/o{n}.jpg" for n in range(6)]
    world.add_openverse(6)
    crawled = run(**BOTH, max_images=6, min_images=0, licences=["by"])
    assert crawled.report["licences"] == {"by": 2}
    assert world.image_hits == 2
    crawled = run(**BOTH, max_images=6, min_images=0, licences=["by", "cc0"])
    assert crawled.report["licences"] == {"by": 2, "cc0": 2}
    assert world.image_hits == 4
    crawled = run(**BOTH, max_images=6, min_images=0)
    assert sum(crawled.report["licences"].values()) == 6
    assert crawled.report["refused"] == {}
    assert world.image_hits == 6, "no URL is requested twice"
