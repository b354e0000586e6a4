"""Downloads: which images are stored, why others are refused, and how hosts are treated."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.crawl import stage
from pipeline.dataset.ledger import TRANSIENT
from tests.conftest import ROOT
from tests.crawling import RunCrawl, World, crawl_params, photo
from tests.loopback import Answer, Exchange, drip, hang, in_turn, redirect, reset, status
from tests.tables import encoded, png

# ---- which images are stored


@pytest.mark.parametrize("threads", [1, 3, 16])
def test_rank_decides_and_not_timing(world: World, run: RunCrawl, threads: int) -> None:
    """Good, bad, slow and equal images: the first 20 good ones are stored with any threads."""
    chance = random.Random(8)
    urls, good = [], []
    for number in range(80):
        path = f"/img/{number}.jpg"
        urls.append(world.web.url + path)
        kind = chance.choice(["good", "good", "missing", "html", "same", "flaky"])
        data = {"html": b"<html>", "same": photo(1000)}.get(kind, photo(number))
        good.append(None if kind in ("missing", "html") else hashlib.sha256(data).hexdigest())

        def answer(exchange: Exchange, data: bytes = data, kind: str = kind) -> None:
            time.sleep(random.random() * 0.03)  # not seeded: each run has another timing
            exchange.reply(data, 404 if kind == "missing" else 200)

        world.web.answers[path] = in_turn(status(503), answer) if kind == "flaky" else answer
    world.urls["*"] = urls
    crawled = run(threads=threads)
    first_good = list(dict.fromkeys(sha256 for sha256 in good if sha256))[:20]
    assert {Path(name).stem for name in crawled.files} == set(first_good)
    assert crawled.report["stored"] == 20


def test_exactly_the_wanted_number_with_any_timing(world: World, run: RunCrawl) -> None:
    world.add_images(45)
    for number in range(0, 45, 2):
        world.web.answers[f"/img/{number}.jpg"] = status(404)
    for _ in range(8):
        world.web.hits.clear()
        crawled = run(threads=16)
        assert len(crawled.files) == 20
        assert crawled.urls == set(world.urls["*"][1:40:2])
        assert world.image_hits == 40
        assert crawled.report["refused"] == {"http-404": 20}
        shutil.rmtree(crawled.folder)


def test_equal_bytes_are_one_file_and_several_lines(world: World, run: RunCrawl) -> None:
    world.add_images(10)
    for number in range(4):
        world.web.serve(f"/img/{number}.jpg", photo(99))
    crawled = run(max_images=7)
    assert len(crawled.files) == 7
    assert len(crawled.attempts) == 10
    assert crawled.report["duplicates"] == 3
    same = [a for a in crawled.attempts if a.sha256 == hashlib.sha256(photo(99)).hexdigest()]
    assert sorted(a.outcome for a in same) == ["duplicate"] * 3 + ["stored"]


def solid(kind: str, mode: str = "RGB", side: int = 120, **options: Any) -> bytes:
    return encoded(Image.new(mode, (side, side)), kind, **options)


def rotated() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def test_the_content_decides_the_format(world: World, run: RunCrawl) -> None:
    """URL and Content-Type lie."""
    second_frame = [Image.new("RGB", (120, 120), "red")]
    formats = [
        (solid("GIF", "P"), ".gif", "GIF"),
        (solid("GIF", save_all=True, append_images=second_frame), ".gif", "GIF"),
        (solid("PNG", "RGBA"), ".png", "PNG"),
        (solid("JPEG", "CMYK"), ".jpg", "JPEG"),
        (solid("JPEG", exif=rotated()), ".jpg", "JPEG"),
        (solid("WEBP"), ".webp", "WEBP"),
        (solid("AVIF"), ".avif", "AVIF"),
    ]
    world.urls["*"] = [
        world.web.serve(f"/img/{number}.jpg;..%2F..%2Fx.exe", data, Content_Type="text/css")
        for number, (data, _, _) in enumerate(formats)
    ]
    crawled = run(max_images=len(formats))
    names = [hashlib.sha256(data).hexdigest() + extension for data, extension, _ in formats]
    assert crawled.files == sorted(names)
    attempts = world.in_request_order(crawled.attempts)
    assert sorted(a.format or "" for a in attempts) == sorted(kind for _, _, kind in formats)
    assert {a.sha256: a.format for a in attempts} == {
        hashlib.sha256(data).hexdigest(): kind for data, _, kind in formats
    }


# ---- why images are refused


def body(data: bytes) -> Answer:
    return lambda exchange: exchange.reply(data)


def huge(exchange: Exchange) -> None:
    """Begin to send 200 MB without a Content-Length."""
    exchange.send_response(200)
    exchange.end_headers()
    exchange.close_connection = True
    for _ in range(2000):
        exchange.wfile.write(bytes(100_000))


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
SHORT = {"Content-Length": "50000", "Connection": "close"}
BOMB = png(30_000, 30_000, (b"IDAT", zlib.compress(bytes(9))))
REFUSED: dict[str, tuple[Answer | str, str, int]] = {
    # name: (answer or URL, reason, requests)
    "404": (status(404), "http-404", 1),
    "403": (status(403), "http-403", 1),
    "410": (status(410), "http-410", 1),
    "503-always": (status(503), "http-503", 3),
    "429-always": (status(429), "http-429", 3),
    "hang": (hang, "timeout", 1),
    "drip-of-headers": (drip(HEAD * 9), "timeout", 1),
    "drip-of-body": (drip(HEAD + bytes(500)), "timeout", 1),
    "reset": (reset, "connection", 3),
    "short-body": (lambda e: e.reply(photo(0), headers=SHORT), "connection", 3),
    "200-MB": (huge, "too-large", 1),
    "200-MB-declared": (
        lambda e: e.reply(b"", headers={"Content-Length": "200000000"}),
        "too-large",
        1,
    ),
    "redirect-loop": (redirect("/img/redirect-loop"), "too-many-redirects", 6),
    "redirect-to-private": (redirect("http://127.0.0.1:9/"), "private-address", 1),
    "redirect-to-file": (redirect("file:///etc/passwd"), "scheme", 1),
    "truncated": (body(photo(0)[:-400]), "truncated", 1),
    "html": (body(b"<!DOCTYPE html><title>Not found</title>"), "not-an-image", 1),
    "empty": (body(b""), "empty", 1),
    "svg": (body(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "format", 1),
    "bomb": (body(BOMB), "too-many-pixels", 1),
    "tiny": (body(solid("PNG", side=60)), "too-small", 1),
    "private": ("http://127.0.0.1:9/a.jpg", "private-address", 0),
    "metadata": ("http://169.254.169.254/latest/meta-data/", "private-address", 0),
    "mapped": ("http://[::ffff:127.0.0.1]:9/a.jpg", "private-address", 0),
    "file": ("file:///etc/passwd", "scheme", 0),
    "data": ("data:image/png;base64,iVBORw0KGgo=", "scheme", 0),
    "no-url": ("http://[half", "invalid-url", 0),
    "no-such-host": ("http://no-such-host.invalid/a.jpg", "dns", 0),
}


def test_each_refused_image_is_a_line_with_its_reason(world: World, run: RunCrawl) -> None:
    """One crawl meets every fault; the images that follow in rank take their places."""
    world.add_images(40)
    urls = {}
    for name, (answer, _, _) in REFUSED.items():
        urls[name] = answer if isinstance(answer, str) else f"{world.web.url}/img/{name}"
        if not isinstance(answer, str):
            world.web.answers[f"/img/{name}"] = answer
    world.urls["*"][1:1] = urls.values()
    crawled = run(max_images=20, max_bytes=1_000_000, timeout_s=1.0)
    assert crawled.exit_code == 0, crawled.output
    good = [url for url in world.urls["*"] if url not in urls.values()]
    assert crawled.urls == set(good[:20])
    refused = {attempt.source_url: attempt for attempt in crawled.outcomes("refused")}
    retries = [attempt.source_url for attempt in crawled.outcomes("retry")]
    found = {
        name: (
            refused[url].reason,
            refused[url].rank,
            world.web.hits[f"/img/{name}"],
            retries.count(url),
        )
        for name, url in urls.items()
    }
    assert found == {
        name: (reason, rank, requests, (requests - 1) * (reason in TRANSIENT) if requests else 0)
        for rank, (name, (_, reason, requests)) in enumerate(REFUSED.items(), start=2)
    }
    assert len(refused) == len(REFUSED)
    assert sum(crawled.report["refused"].values()) == len(REFUSED)
    assert crawled.report["refused"]["timeout"] == 3
    assert all(refused[url].detail for name, url in urls.items() if name != "empty")
    assert refused[urls["200-MB-declared"]].bytes == 200_000_000
    assert (refused[urls["tiny"]].width, refused[urls["tiny"]].height) == (60, 60)
    reset_again = next(one for one in crawled.outcomes("retry") if one.source_url == urls["reset"])
    assert reset_again.reason == "connection"
    assert str(reset_again.detail).endswith(" s)") and "(retry in 0.0" in str(reset_again.detail)
    assert "; 28 URLs refused (private-address 4, " in crawled.output.splitlines()[-1]


def test_hosts_that_do_not_answer_are_tried_again_by_the_next_run(
    world: World, run: RunCrawl
) -> None:
    world.add_images(30)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and it does not listen
        closed = f"127.0.0.1:{unused.getsockname()[1]}"
        bad = {
            f"http://{closed}/a.jpg": "connection",
            f"https://{world.web.host}/a.jpg": "tls",  # the server has no TLS
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
        again = run(max_images=6, allow_hosts=[world.web.host, closed]).outcomes("refused")
        assert [attempt.source_url for attempt in again].count(f"http://{closed}/a.jpg") == 2
        assert len(again) == 6


# ---- retries and politeness


def test_an_image_that_a_retry_brings_is_stored(world: World, run: RunCrawl) -> None:
    world.add_images(5)
    good = world.web.answers["/img/0.jpg"]
    world.web.answers["/img/0.jpg"] = in_turn(status(503), status(503), good)
    good = world.web.answers["/img/1.jpg"]
    world.web.answers["/img/1.jpg"] = in_turn(status(429, Retry_After="1"), good)
    crawled = run(max_images=5)
    assert crawled.urls == set(world.urls["*"])
    retries = sorted((a.source_url[-5:], a.reason) for a in crawled.outcomes("retry"))
    assert retries == [("0.jpg", "http-503")] * 2 + [("1.jpg", "http-429")]
    moments = [at for at, path, _ in world.web.requests if path == "/img/1.jpg"]
    assert moments[1] - moments[0] >= 1.0, "Retry-After is honoured"
    assert crawled.report["refused"] == {}


def test_a_host_that_asks_for_an_hour_gets_no_further_request(world: World, run: RunCrawl) -> None:
    world.add_images(10)
    world.web.answers["/img/3.jpg"] = status(429, Retry_After="3600")
    crawled = run(max_images=5, min_images=5, threads=1)
    assert crawled.exit_code == stage.TOO_FEW
    assert crawled.report["refused"] == {"busy": 6, "http-429": 1}
    assert world.image_hits == 4
    assert "7 URLs refused (busy 6, http-429 1)" in crawled.output


def test_one_host_gets_few_requests_at_once(world: World, run: RunCrawl) -> None:
    world.add_images(30, delay_s=0.02)
    run(max_images=12, per_host=2, host_delay_s=0.03)
    assert world.web.most_at_once <= 2
    moments = [at for at, path, _ in world.web.requests if path.startswith("/img/")]
    pauses = [later - sooner for sooner, later in itertools.pairwise(sorted(moments))]
    assert min(pauses) > 0.02


def test_an_exception_in_a_thread_ends_the_crawl_at_once(
    world: World, run: RunCrawl, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exception is not lost, and no other thread waits for ever."""
    world.add_images(60)

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a fault in the code")

    monkeypatch.setattr("pipeline.crawl.crawler.verify", broken)
    with pytest.raises(AssertionError, match="kathak: 0 images stored, 20 wanted"):
        run()  # its own check fails: the exception is not a clean exit
    assert threading.active_count() < 20


# ---- memory

MEASURE = """
from pathlib import Path
from pipeline.crawl.stage import main
main(["kathak"], standalone_mode=False)
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


@pytest.mark.slow
def test_64_threads_hold_few_images_in_memory(project: Callable[..., Path], world: World) -> None:
    """A crawl of 40 images of 4 MB peaks at 140 MB; with all in memory, at 400 MB."""
    noise = np.random.default_rng(8).integers(0, 256, (1200, 1200, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), "PNG", compress_level=1)
    # other bytes after the end of the image, so that each file has another sha256
    urls = [world.web.serve(f"/img/{number}.png", data + b"%d" % number) for number in range(40)]
    world.urls["*"] = urls
    limits = {"max_images": 40, "threads": 64, "per_host": 64, "timeout_s": 60.0}
    folder = project(**crawl_params(world, limits))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(list((folder / "data/dances/crawl/kathak/images").iterdir())) == 40
    assert int(done.stdout.split()[-1]) < 170_000  # kB
