"""The loopback web, asked by real clients: icrawler's parser, requests, sixteen threads."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote_plus

import pytest
import requests
from icrawler.builtin.bing import BingParser

from pipeline.demo.drawn_dances import DrawnDances
from pipeline.demo.web import PAGE, Web, byte_range
from pipeline.demo.world import ARCHIVES, INTRANET, SEARCH, Answer, Fault, Url, World

ARCHIVE = bytes(range(256)) * 400


@pytest.fixture
def web(dances: DrawnDances, tmp_path: Path) -> Iterator[Web]:
    on_disk = tmp_path / "disk.tar.gz"
    on_disk.write_bytes(ARCHIVE[::-1])
    archives = {
        "good.tar.gz": Answer(ARCHIVE),
        "cut.tar.gz": Answer(ARCHIVE, stumbles="cut"),
        "disk.tar.gz": Answer(on_disk),
    }
    with Web(World(dances, archives), tmp_path / "web.jsonl") as web:
        yield web


@pytest.fixture
def client() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False  # no proxy of this machine
        yield session


def search(web: Web, client: requests.Session, query: str, first: int) -> requests.Response:
    base = web.url(Url(SEARCH, "/images/async"))
    return client.get(f"{base}?q={quote_plus(query)}&first={first}", timeout=5)


def results(response: requests.Response) -> list[dict[str, str]]:
    attributes = re.findall(r'class="iusc" m="([^"]*)"', response.text)
    return [json.loads(html.unescape(attribute)) for attribute in attributes]


def test_icrawlers_own_parser_reads_a_page(web: Web, client: requests.Session) -> None:
    response = search(web, client, "kathak dance", 0)
    found = [task["file_url"] for task in BingParser.parse(SimpleNamespace(), response)]
    listed = [result["murl"] for result in results(response)]
    plain = {url for url in listed if url.endswith(".jpg")}
    assert plain <= set(found)  # of other names its pattern makes what it may
    assert 10 < len(plain) < PAGE == len(listed)


def test_pages_overlap_cover_all_and_end(
    web: Web, client: requests.Session, dances: DrawnDances
) -> None:
    gallery = dances.gallery("kathak")
    assert gallery is not None
    pages = [results(search(web, client, "kathak dance", first)) for first in range(0, 80, 20)]
    assert [len(page) for page in pages] == [
        PAGE,
        len(gallery.main) - 20,
        len(gallery.main) - 40,
        0,
    ]
    assert pages[1][: PAGE - 20] == pages[0][20:]
    in_order = pages[0][:20] + pages[1][:20] + pages[2]
    assert [result["murl"] for result in in_order] == [web.url(hit.image) for hit in gallery.main]
    assert len({result["purl"] for result in in_order}) > len(in_order) / 3
    page = client.get(in_order[0]["purl"], timeout=5)
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.parametrize("query", ["waltz", "kathak&first=3#", "நடனம்", ""])
def test_any_query_is_answered(web: Web, client: requests.Session, query: str) -> None:
    response = search(web, client, query, 0)
    assert response.status_code == 200
    assert bool(results(response)) == query.startswith("kathak")


def test_faults_answer_as_planted(web: Web, client: requests.Session, dances: DrawnDances) -> None:
    gallery = dances.gallery("jagoi")
    assert gallery is not None

    def statuses(fault: Fault) -> list[int]:
        urls = [web.url(plant.url) for plant in gallery.plants if plant.fault == fault]
        return [
            client.get(url, allow_redirects=False, timeout=5).status_code
            for url in urls
            for _ in "12"
        ]

    assert statuses(Fault.MISSING) == [404] * 4
    assert statuses(Fault.LATE) == [503, 200] * 2
    assert statuses(Fault.PRIVATE) == [302] * 4
    assert statuses(Fault.HTML) == [200] * 4
    tagged = next(plant.url for plant in gallery.plants if plant.fault == Fault.OPT_OUT)
    assert client.get(web.url(tagged), timeout=5).headers["X-Robots-Tag"] == "noai"


def test_a_late_image_is_announced_by_retry_after(
    web: Web, client: requests.Session, dances: DrawnDances
) -> None:
    gallery = dances.gallery("kathakali")
    assert gallery is not None
    late = next(plant.url for plant in gallery.plants if plant.fault == Fault.LATE)
    first, second = (client.get(web.url(late), timeout=5) for _ in "12")
    assert (first.status_code, first.headers["Retry-After"]) == (503, "1")
    assert second.content == gallery.answers[late.host, late.path].body


def test_a_request_to_the_intranet_is_recorded(
    web: Web, client: requests.Session, dances: DrawnDances
) -> None:
    gallery = dances.gallery("kathak")
    assert gallery is not None
    trap = next(plant.url for plant in gallery.plants if plant.fault == Fault.PRIVATE)
    assert not web.requests(INTRANET)
    client.get(web.url(trap), timeout=5)
    assert [request.path for request in web.requests(INTRANET)] == ["/secret.jpg"]
    assert web.address(INTRANET) not in web.allowed
    assert {web.address(SEARCH), web.address(ARCHIVES), web.address("photos")} <= set(web.allowed)


def test_a_moved_image_is_found_on_the_other_host(
    web: Web, client: requests.Session, dances: DrawnDances
) -> None:
    gallery = dances.gallery("kathak")
    assert gallery is not None
    first = gallery.main[0].image
    response = client.get(web.url(first), timeout=5)
    assert response.url != web.url(first)
    assert response.headers["Content-Type"] == "image/jpeg"


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-9", (0, 10)),
        ("bytes=90-", (90, 100)),
        ("bytes=90-400", (90, 100)),
        ("bytes=-7", (93, 100)),
        ("bytes=-400", (0, 100)),
        ("bytes=100-", None),
        ("bytes=9-8", None),
        ("bytes=-0", None),
        ("bytes=-", None),
        ("lines=0-9", None),
    ],
)
def test_a_range_is_understood(header: str, span: tuple[int, int] | None) -> None:
    assert byte_range(header, 100) == span


def test_a_cut_download_is_resumed_by_range(web: Web, client: requests.Session) -> None:
    url = web.url(Url(ARCHIVES, "/cut.tar.gz"))
    with client.get(url, stream=True, timeout=5) as response:
        assert response.headers["Content-Length"] == str(len(ARCHIVE))
        part = response.raw.read(len(ARCHIVE) // 2)
        with pytest.raises(Exception, match="IncompleteRead"):
            response.raw.read()
    tag = response.headers["ETag"]
    rest = client.get(url, headers={"Range": f"bytes={len(part)}-", "If-Range": tag}, timeout=5)
    assert rest.status_code == 206
    assert rest.headers["Content-Range"] == f"bytes {len(part)}-{len(ARCHIVE) - 1}/{len(ARCHIVE)}"
    assert part + rest.content == ARCHIVE
    changed = client.get(url, headers={"Range": "bytes=5-", "If-Range": '"other"'}, timeout=5)
    assert (changed.status_code, changed.content) == (200, ARCHIVE)
    beyond = client.get(url, headers={"Range": f"bytes={len(ARCHIVE)}-"}, timeout=5)
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(ARCHIVE)}")
    ranges = [request.range for request in web.requests(ARCHIVES)]
    assert ranges[:2] == [None, f"bytes={len(part)}-"]


def test_head_and_files_on_disk(web: Web, client: requests.Session) -> None:
    url = web.url(Url(ARCHIVES, "/disk.tar.gz"))
    head = client.head(url, timeout=5)
    assert (head.content, head.headers["Content-Length"]) == (b"", str(len(ARCHIVE)))
    assert client.get(url, timeout=5).content == ARCHIVE[::-1]


def test_sixteen_threads_at_a_dance_not_yet_drawn(tmp_path: Path) -> None:
    log = tmp_path / "web.jsonl"
    with Web(World(DrawnDances(8), {}), log) as web:
        url = web.url(Url("photos", "/odissi/dancer-003.png"))

        def get(_: int) -> bytes:
            return requests.get(url, timeout=30).content

        with ThreadPoolExecutor(16) as pool:
            bodies = set(pool.map(get, range(32)))
        assert len(bodies) == 1
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert len(lines) == len(web.requests("photos")) == 32
        assert {(line["url"], line["host"], line["status"], line["method"]) for line in lines} == {
            (url, "photos", 200, "GET")
        }


def test_nothing_listens_after_the_end() -> None:
    with Web(World(DrawnDances(8), {})) as web:
        url = web.url(Url(SEARCH, "/images/async?q=x&first=0"))
        assert requests.get(url, timeout=5).status_code == 200
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=5)
