"""The search: queries and engines take turns, pages are read as needed, bad pages do no harm."""

from __future__ import annotations

import itertools
from pathlib import Path

from tests.crawling import RunCrawl, World, after, bing_page, photo
from tests.loopback import in_turn, status

QUERIES = ["a&b=c", "#kathak", "1+1", "கதக் நடனம்", "कथक नृत्य", "100% “x”"]


def test_queries_arrive_as_they_were_written(world: World, run: RunCrawl) -> None:
    for number, query in enumerate(QUERIES):
        world.urls[query] = [world.web.serve(f"/img/{number}.jpg", photo(number))]
    crawled = run(queries=QUERIES, max_images=len(QUERIES), threads=1)
    assert world.queries == QUERIES
    assert [one.query for one in world.in_request_order(crawled.attempts)] == QUERIES


def test_queries_take_turns(world: World, run: RunCrawl) -> None:
    for base, query in enumerate(("one", "two", "three")):
        world.urls[query] = [
            world.web.serve(f"/img/{query}-{n}.jpg", photo(30 * base + n)) for n in range(30)
        ]
    world.urls["three"][5:] = world.urls["one"][:5]  # two queries find them; one request each
    crawled = run(queries=["one", "two", "three"], max_images=15, threads=1)
    attempts = world.in_request_order(crawled.attempts)
    ranked = [(attempt.query, attempt.rank) for attempt in attempts]
    assert ranked == [(query, rank) for rank in range(1, 6) for query in ("one", "two", "three")]


def test_a_query_that_is_given_twice_is_asked_once(world: World, run: RunCrawl) -> None:
    world.add_images(4)
    crawled = run(queries=["one", "one"], max_images=6)
    assert crawled.exit_code == 0
    assert len(crawled.files) == 4
    assert world.queries == ["one", "one"], "its first page, and the empty one after it"


def test_engines_take_turns_and_give_the_licence(world: World, run: RunCrawl) -> None:
    world.add_images(10)
    world.add_openverse(6)
    crawled = run(engines=["bing", "openverse"], max_images=8, threads=1)
    attempts = world.in_request_order(crawled.attempts)
    ranked = [(attempt.engine, attempt.rank) for attempt in attempts]
    assert ranked == [(engine, rank) for rank in range(1, 5) for engine in ("bing", "openverse")]
    second = attempts[3]
    assert (second.licence, second.creator) == ("by-nc", "Person 1")
    assert second.attribution == "Image 1 by Person 1"
    assert second.page_url == "https://example.org/1"
    assert crawled.report["licences"] == {"by": 2, "by-nc": 1, "cc0": 1, "unknown": 4}


def test_a_list_of_urls_is_downloaded_in_its_order(
    world: World, run: RunCrawl, tmp_path: Path
) -> None:
    urls = world.add_images(30)
    (tmp_path / "list.csv").write_text(
        "title,url,licence,creator\n" + "".join(f"x,{url},by,A. Person\n" for url in urls)
    )
    crawled = run(own_engines=["urls"], urls="list.csv", max_images=10, threads=1)
    attempts = world.in_request_order(crawled.attempts)
    assert [attempt.source_url for attempt in attempts] == urls[:10]
    assert {attempt.query for attempt in attempts} == {"list.csv"}
    assert crawled.report["licences"] == {"by": 10}
    assert not world.queries


def test_an_engine_that_refuses_is_not_asked_again(world: World, run: RunCrawl) -> None:
    world.web.answers["/images/async"] = status(403)
    run(queries=["one", "two", "three"])
    assert world.web.hits["/images/async"] == 1


def test_a_page_that_is_cut_gives_its_whole_results(world: World, run: RunCrawl) -> None:
    world.add_images(20)
    page = bing_page(world.urls["*"])
    world.web.answers["/images/async"] = lambda e: e.reply(page[: len(page) // 2 + 30])
    crawled = run()
    assert crawled.exit_code == 0
    assert crawled.urls == set(world.urls["*"][: len(crawled.files)])
    assert 8 <= len(crawled.files) <= 10


def test_a_last_page_that_repeats_ends_the_search(world: World, run: RunCrawl) -> None:
    world.add_images(30)
    last = world.results_from(20)
    world.web.answers["/images/async"] = in_turn(world.results_from(0), last, last)
    crawled = run(max_images=60)
    assert crawled.exit_code == 0
    assert len(crawled.files) == 30
    assert world.web.hits["/images/async"] == 3


def test_a_slow_second_page_is_awaited(world: World, run: RunCrawl) -> None:
    world.add_images(40)
    # the images of the first page are stored long before the second page comes
    slow_page = after(0.5, world.results_from(20))
    world.web.answers["/images/async"] = in_turn(world.results_from(0), slow_page)
    assert len(run(max_images=40, timeout_s=3.0).files) == 40


def test_pages_of_one_engine_are_requested_slowly(world: World, run: RunCrawl) -> None:
    world.add_images(45)
    run(max_images=45, engine_delay_s=0.2)
    moments = [at for at, path, _ in world.web.requests if path.startswith("/images/")]
    assert len(moments) == 3
    assert min(later - sooner for sooner, later in itertools.pairwise(moments)) > 0.18
