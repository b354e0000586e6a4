"""Downloads: each URL once, a reason for each failure, and nothing lost on an interrupt."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.params import Crawl
from pipeline.folder.downloads import Downloads
from tests.loopback import Server, hang, in_turn, serving, status
from tests.tables import image_file


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def params(server: Server, **more: object) -> Crawl:
    values = {"max_images": 1, "min_images": 0, "backoff_s": 0.01, "host_delay_s": 0.0}
    return Crawl.model_validate({**values, "allow_hosts": [server.host], **more})


def test_each_url_is_requested_once(server: Server, tmp_path: Path) -> None:
    urls = [server.serve(f"/{number}", image_file(number)) for number in range(5)]
    (tmp_path / f".{'0' * 64}.123.part").write_bytes(b"left by a run that was killed")
    downloads = Downloads(tmp_path, params(server))
    assert downloads.fetch([*urls, urls[0]]) == {}
    assert [downloads.path(url).read_bytes() for url in urls] == [image_file(n) for n in range(5)]
    assert len(list(tmp_path.iterdir())) == 5 + 1
    assert server.hits["/0"] == 1
    server.answers.clear()
    assert Downloads(tmp_path, params(server)).fetch(urls[1:]) == {}
    index = [line.split(" ") for line in (tmp_path / "index.txt").read_text().splitlines()]
    assert {url: tmp_path / name for name, url in index} == {
        url: downloads.path(url) for url in urls
    }
    assert sum(server.hits.values()) == 5 + server.hits["/robots.txt"]


def test_a_failed_url_has_a_reason_and_is_requested_again(server: Server, tmp_path: Path) -> None:
    page = server.serve("/page", b"<html>soon</html>")
    busy = server.url + "/busy"
    server.answers["/busy"] = in_turn(status(503), lambda answer: answer.reply(image_file(1)))
    private = server.url.replace("127.0.0.1", "localhost") + "/x"  # a host that is not allowed
    urls = [
        page,
        busy,
        server.url + "/gone",
        private,
        "http://[bad",
        server.serve("/ok", image_file(2)),
    ]
    downloads = Downloads(tmp_path, params(server))
    refused = downloads.fetch(urls)
    assert {url: why.reason for url, why in refused.items()} == {
        page: "not-an-image",
        server.url + "/gone": "http-404",
        private: "private-address",
        "http://[bad": "invalid-url",
    }
    assert downloads.path(busy).exists() and not downloads.path(page).exists()
    server.serve("/page", image_file(3))
    assert page not in downloads.fetch(urls)
    assert server.hits["/ok"] == 1


def test_robots_txt_and_opt_outs_are_honoured(server: Server, tmp_path: Path) -> None:
    server.serve("/robots.txt", b"User-agent: *\nDisallow: /private/\n")
    url = server.serve("/private/a", image_file(1))
    noai = server.serve("/b", image_file(2), X_Robots_Tag="noai")
    refused = Downloads(tmp_path, params(server)).fetch([url, noai])
    assert {why.reason for why in refused.values()} == {"robots", "opt-out"}
    assert server.hits["/private/a"] == 0
    assert Downloads(tmp_path, params(server, robots=False, opt_out=False)).fetch([url, noai]) == {}


def test_ctrl_c_ends_at_once_and_keeps_finished_downloads(server: Server, tmp_path: Path) -> None:
    good = [server.serve(f"/{number}", image_file(number)) for number in range(3)]
    server.answers["/hangs"] = hang
    code = (
        "import sys\nfrom pathlib import Path\nfrom pipeline.folder.downloads import Downloads\n"
        "from pipeline.core.params import Crawl\n"
        "_, host, folder, *urls = sys.argv\n"
        "params = Crawl(max_images=1, min_images=0, host_delay_s=0.0, allow_hosts=[host])\n"
        "Downloads(Path(folder), params).fetch(urls)\n"
    )
    urls = [*good, server.url + "/hangs"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, server.host, str(tmp_path), *urls],
        stderr=subprocess.PIPE,
        text=True,
    )
    patience = time.monotonic() + 30
    while not (server.hits["/hangs"] and len(list(tmp_path.glob("[!.]*"))) == 3):
        assert time.monotonic() < patience, "never began"
        time.sleep(0.02)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=10)
    assert time.monotonic() - started < 5
    assert "KeyboardInterrupt" in shown
    assert len(list(tmp_path.iterdir())) == 3
