"""Downloads over HTTP: interrupted, resumed, changed, tampered with or silent."""

from __future__ import annotations

import gzip
import random
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.core import progress
from pipeline.core.errors import PipelineError
from pipeline.http import download as module
from pipeline.http.client import GuardedSession
from pipeline.http.download import Downloaded, download
from tests.archiving import sha256
from tests.loopback import (
    Answer,
    Exchange,
    Server,
    drip,
    hang,
    in_turn,
    ranged,
    redirect,
    reset,
    serving,
    status,
)

DATA = random.Random(8).randbytes(300_000)
OTHER = random.Random(9).randbytes(300_000)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def get(server: Server, tmp_path: Path) -> Callable[..., Downloaded]:
    """Give a `download` with a target and a session that may reach the server."""

    def bound(url: str, *mirrors: str, **options: Any) -> Downloaded:
        settings: dict[str, Any] = {"sha256": None, "max_bytes": 10_000_000, "backoff_s": 0.01}
        settings |= {"session": GuardedSession("kalai tests", [server.host]), "timeout_s": 5.0}
        return download(url, mirrors, tmp_path / "file.bin", **settings | options)

    return bound


def whole_only(
    data: bytes, cut: int | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """Return an answer that serves `data` without ranges."""

    def answer(exchange: Exchange) -> None:
        exchange.close_connection = cut is not None
        exchange.reply(data[:cut], headers={"Content-Length": str(len(data))} | dict(headers or {}))

    return answer


def asked_ranges(server: Server) -> list[str | None]:
    return [headers.get("Range") for _, _, headers in server.requests]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


Get = Callable[..., Downloaded]


def drip_after_headers(exchange: Exchange) -> None:
    exchange.reply(headers={"Content-Length": "5000"})
    drip(b"z" * 5000, 0.01)(exchange)  # never silent for long, and never complete


def test_a_complete_download_leaves_no_other_file(server: Server, get: Get, tmp_path: Path) -> None:
    done = get(server.serve("/a", DATA), sha256=sha256(DATA))
    assert done == Downloaded(server.url + "/a", sha256(DATA), len(DATA))
    assert (tmp_path / "file.bin").read_bytes() == DATA
    assert files(tmp_path) == ["file.bin"]
    assert server.requests[0][2]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("pinned", [True, False])
@pytest.mark.parametrize(("etag", "modified"), [('"one"', None), (None, "Mon, 03 Nov 2025")])
def test_an_interrupted_download_is_resumed(
    server: Server, get: Get, tmp_path: Path, pinned: bool, etag: str | None, modified: str | None
) -> None:
    server.answers["/a"] = in_turn(
        ranged(DATA, etag, cut=100_000, modified=modified), ranged(DATA, etag, modified=modified)
    )
    get(server.url + "/a", sha256=sha256(DATA) if pinned else None)
    assert (tmp_path / "file.bin").read_bytes() == DATA
    assert asked_ranges(server) == [None, "bytes=100000-"]
    assert server.requests[1][2]["If-Range"] == (etag or modified)


def test_the_next_run_resumes(server: Server, get: Get, tmp_path: Path) -> None:
    server.answers["/a"] = in_turn(ranged(DATA, cut=70_000), status(404))
    with pytest.raises(PipelineError, match=r"http-404.*; the next run resumes after 70000 bytes"):
        get(server.url + "/a")
    assert files(tmp_path) == ["file.bin.part", "file.bin.part.json"]
    server.answers["/a"] = ranged(DATA)
    get(server.url + "/a")
    assert (tmp_path / "file.bin").read_bytes() == DATA
    assert asked_ranges(server)[-1] == "bytes=70000-"


@pytest.mark.parametrize("pinned", [True, False])
def test_a_server_without_ranges_sends_the_whole_file(
    server: Server, get: Get, tmp_path: Path, pinned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers["/a"] = in_turn(whole_only(DATA, cut=90_000), whole_only(DATA))
    get(server.url + "/a", sha256=sha256(DATA) if pinned else None)
    assert (tmp_path / "file.bin").read_bytes() == DATA
    assert "the server sends the whole file; starting again" in capsys.readouterr().err
    # without a validator, only a sha256 makes it safe to ask for the rest
    assert asked_ranges(server) == [None, "bytes=90000-" if pinned else None]


def test_a_changed_file_is_downloaded_again(server: Server, get: Get, tmp_path: Path) -> None:
    server.answers["/a"] = in_turn(ranged(DATA, '"one"', cut=50_000), ranged(OTHER, '"two"'))
    get(server.url + "/a")
    assert (tmp_path / "file.bin").read_bytes() == OTHER
    assert server.requests[1][2]["If-Range"] == '"one"'


def test_a_changed_etag_is_noticed_if_the_server_ignores_if_range(
    server: Server, get: Get, tmp_path: Path
) -> None:
    def careless(exchange: Exchange) -> None:
        del exchange.headers["If-Range"]
        ranged(OTHER, '"two"')(exchange)

    server.answers["/a"] = in_turn(ranged(DATA, '"one"', cut=50_000), careless)
    get(server.url + "/a")
    assert (tmp_path / "file.bin").read_bytes() == OTHER
    assert asked_ranges(server) == [None, "bytes=50000-", None]


@pytest.mark.parametrize("lie", ["bytes 0-249999/300000", "bytes 50001-299999/300000", "", "rest"])
def test_a_wrong_range_is_not_used(server: Server, get: Get, tmp_path: Path, lie: str) -> None:
    def lying(exchange: Exchange) -> None:
        exchange.reply(DATA[50_000:], 206, {"Content-Range": lie, "ETag": '"one"'})

    server.answers["/a"] = in_turn(ranged(DATA, cut=50_000), lying, ranged(DATA))
    get(server.url + "/a")
    assert (tmp_path / "file.bin").read_bytes() == DATA


def test_a_weak_etag_is_not_used_to_resume(server: Server, get: Get) -> None:
    server.answers["/a"] = in_turn(ranged(DATA, 'W/"one"', cut=50_000), ranged(DATA, 'W/"one"'))
    get(server.url + "/a")
    assert asked_ranges(server) == [None, None]


def test_a_partial_file_that_is_complete_is_used(server: Server, get: Get, tmp_path: Path) -> None:
    server.answers["/a"] = in_turn(ranged(DATA, cut=200_000), status(404))
    with pytest.raises(PipelineError):
        get(server.url + "/a")
    with (tmp_path / "file.bin.part").open("ab") as file:
        file.write(DATA[200_000:])  # a run was killed between the last byte and the rename
    server.answers["/a"] = ranged(DATA)
    get(server.url + "/a")
    assert (tmp_path / "file.bin").read_bytes() == DATA
    assert asked_ranges(server)[2:] == ["bytes=300000-"]


def test_a_server_that_sends_less_than_the_rest_is_asked_again(server: Server, get: Get) -> None:
    data = random.Random(3).randbytes(5 << 20)

    def some(exchange: Exchange) -> None:
        begin = int(exchange.headers["Range"][len("bytes=") : -1])
        body = data[begin : begin + (2 << 20)]
        place = f"bytes {begin}-{begin + len(body) - 1}/{len(data)}"
        exchange.reply(body, 206, {"Content-Range": place, "ETag": '"one"'})

    server.answers["/a"] = in_turn(ranged(data, cut=1 << 20), some)
    assert get(server.url + "/a").sha256 == sha256(data)
    assert server.hits["/a"] == 3


def test_a_partial_file_longer_than_the_file_is_discarded(
    server: Server, get: Get, tmp_path: Path
) -> None:
    server.answers["/a"] = in_turn(ranged(DATA, cut=200_000), status(404))
    with pytest.raises(PipelineError):
        get(server.url + "/a", sha256=sha256(OTHER[:100_000]))
    server.answers["/a"] = ranged(OTHER[:100_000])
    get(server.url + "/a", sha256=sha256(OTHER[:100_000]))
    assert (tmp_path / "file.bin").read_bytes() == OTHER[:100_000]


@pytest.mark.parametrize("damage", ["flip", "state", "no state"])
def test_a_damaged_partial_file_is_downloaded_again(
    server: Server, get: Get, tmp_path: Path, damage: str
) -> None:
    server.answers["/a"] = in_turn(ranged(DATA, cut=200_000), status(404))
    with pytest.raises(PipelineError):
        get(server.url + "/a", sha256=sha256(DATA))
    part, state = tmp_path / "file.bin.part", tmp_path / "file.bin.part.json"
    if damage == "flip":
        part.write_bytes(b"\0" + part.read_bytes()[1:])
    elif damage == "state":
        state.write_text('{"url": ')
    else:
        state.unlink()
    server.answers["/a"] = ranged(DATA)
    get(server.url + "/a", sha256=sha256(DATA))
    assert (tmp_path / "file.bin").read_bytes() == DATA
    assert files(tmp_path) == ["file.bin"]


def test_mirrors_are_tried_in_order(server: Server, get: Get, tmp_path: Path) -> None:
    server.answers |= {"/gone": status(404), "/busy": status(503), "/reset": reset}
    urls = [server.url + path for path in ("/gone", "/busy", "/reset")]
    done = get(
        *urls, server.serve("/good", DATA), server.serve("/never", DATA), sha256=sha256(DATA)
    )
    assert done.source.endswith("/good")
    # a refusal is not retried, a temporary failure is
    assert server.hits == {"/gone": 1, "/busy": 3, "/reset": 3, "/good": 1}
    assert (tmp_path / "file.bin").read_bytes() == DATA


def test_another_mirror_resumes_a_file_with_a_sha256(server: Server, get: Get) -> None:
    server.answers["/first"] = in_turn(ranged(DATA, cut=120_000), status(404))
    server.answers["/second"] = ranged(DATA, '"another server"')
    get(server.url + "/first", server.url + "/second", sha256=sha256(DATA))
    path, headers = server.requests[-1][1:]
    assert (path, headers["Range"], headers.get("If-Range")) == ("/second", "bytes=120000-", None)


def test_another_mirror_does_not_resume_a_file_without_a_sha256(server: Server, get: Get) -> None:
    server.answers["/first"] = in_turn(ranged(DATA, cut=120_000), status(404))
    server.answers["/second"] = ranged(DATA)
    get(server.url + "/first", server.url + "/second")
    assert asked_ranges(server)[-1] is None


def test_the_error_has_the_failure_of_each_address(
    server: Server, get: Get, tmp_path: Path
) -> None:
    server.answers["/busy"] = status(503)
    with pytest.raises(PipelineError) as caught:
        get(server.url + "/gone", server.url + "/busy", str(tmp_path / "missing"), "ftp://x/y")
    for part in (
        "gone: http-404",
        "busy: http-503",
        "missing: unreadable: No such",
        "ftp://x/y: scheme",
    ):
        assert part in caught.value.message
    assert files(tmp_path) == []


def test_a_file_with_another_sha256_is_set_aside(server: Server, get: Get, tmp_path: Path) -> None:
    bad = f"file.bin.bad-{sha256(OTHER)[:12]}"
    with pytest.raises(PipelineError) as caught:
        get(server.serve("/a", OTHER), sha256=sha256(DATA))
    assert f"its sha256 is {sha256(OTHER)}, expected {sha256(DATA)}" in caught.value.message
    assert bad in caught.value.message
    assert files(tmp_path) == [bad]
    assert (tmp_path / bad).read_bytes() == OTHER
    done = get(server.url + "/a", server.serve("/b", DATA), sha256=sha256(DATA))
    assert done.source.endswith("/b")
    assert files(tmp_path) == ["file.bin", bad]


def test_a_mix_of_two_versions_is_never_used(server: Server, get: Get, tmp_path: Path) -> None:
    # the server sends the rest of another file without a validator; the sha256 reveals it
    server.answers["/a"] = in_turn(
        ranged(OTHER, None, cut=100_000), ranged(DATA, None), ranged(DATA, None)
    )
    get(server.url + "/a", sha256=sha256(DATA))
    assert (tmp_path / "file.bin").read_bytes() == DATA
    assert asked_ranges(server) == [None, "bytes=100000-", None]


def test_a_wrong_file_from_a_server_that_interrupts_is_an_error(
    server: Server, get: Get, tmp_path: Path
) -> None:
    server.answers["/a"] = ranged(OTHER, cut=150_000)
    with pytest.raises(PipelineError, match="its sha256 is"):
        get(server.url + "/a", sha256=sha256(DATA))
    assert server.hits["/a"] == 4
    assert files(tmp_path) == [f"file.bin.bad-{sha256(OTHER)[:12]}"]


def test_a_file_that_fails_the_check_is_set_aside(server: Server, get: Get, tmp_path: Path) -> None:
    def check(path: Path) -> None:
        if path.read_bytes().startswith(b"<"):
            raise PipelineError(f"{path.name}: an HTML page")

    page = b"<html>please log in</html>"
    done = get(server.serve("/portal", page), server.serve("/b", DATA), check=check)
    assert done.source.endswith("/b")
    assert files(tmp_path) == ["file.bin", f"file.bin.bad-{sha256(page)[:12]}"]


def test_the_size_is_limited_declared_or_not(server: Server, get: Get, tmp_path: Path) -> None:
    def undeclared(exchange: Exchange) -> None:
        exchange.close_connection = True
        exchange.send_response(200)
        exchange.end_headers()
        exchange.wfile.write(DATA)

    server.answers["/chunks"] = undeclared
    with pytest.raises(PipelineError) as caught:
        get(server.serve("/a", DATA), server.url + "/chunks", max_bytes=299_999)
    assert "a: too-large: 300000 bytes; the limit is 299999" in caught.value.message
    assert "chunks: too-large: over 299999 bytes" in caught.value.message
    assert server.hits == {"/a": 1, "/chunks": 1}
    assert get(server.url + "/chunks", max_bytes=300_000).size == 300_000


@pytest.mark.parametrize(
    "answer",
    [
        hang,
        drip(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 2000),  # endless headers
        drip_after_headers,
    ],
)
def test_silence_and_slow_drips_are_timeouts(server: Server, get: Get, answer: Answer) -> None:
    server.answers["/slow"] = answer
    done = get(server.url + "/slow", server.serve("/b", DATA), timeout_s=0.4)
    assert done.source.endswith("/b")
    assert server.hits["/slow"] == module.TRIES


def test_a_slow_server_that_keeps_sending_is_no_timeout(server: Server, get: Get) -> None:
    def slow(exchange: Exchange) -> None:
        exchange.send_response(200)
        exchange.send_header("Content-Length", str(len(DATA)))
        exchange.end_headers()
        for at in range(0, len(DATA), 30_000):
            exchange.wfile.write(DATA[at : at + 30_000])
            exchange.server.released.wait(0.1)

    server.answers["/a"] = slow
    assert get(server.url + "/a", timeout_s=0.5).sha256 == sha256(DATA)  # takes 1 s
    assert server.hits["/a"] == 1


def test_interruptions_after_progress_do_not_count(
    server: Server, get: Get, tmp_path: Path
) -> None:
    data = random.Random(1).randbytes(8 << 20)
    server.answers["/a"] = ranged(data, cut=(1 << 20) + 1)
    get(server.url + "/a", sha256=sha256(data))
    assert (tmp_path / "file.bin").read_bytes() == data
    assert server.hits["/a"] == 8


def test_a_short_retry_after_is_obeyed_and_a_long_one_skips_the_mirror(
    server: Server, get: Get
) -> None:
    server.answers["/soon"] = in_turn(status(503, Retry_After="1"), whole_only(DATA))
    server.answers["/late"] = status(429, Retry_After="3600")
    done = get(server.url + "/late", server.url + "/soon")
    assert done.source.endswith("/soon")
    moments = [moment for moment, path, _ in server.requests if path == "/soon"]
    assert moments[1] - moments[0] >= 1.0
    assert server.hits == {"/late": 1, "/soon": 2}


def test_redirects_are_followed_and_checked(server: Server, get: Get) -> None:
    server.answers |= {"/a": redirect("/b?x=1"), "/loop": redirect("/loop")}
    server.answers["/inside"] = redirect("http://127.0.0.1:9/secret")
    server.answers["/file"] = redirect("file:///etc/passwd")
    server.serve("/b", DATA)
    assert get(server.url + "/a").source.endswith("/a")
    with pytest.raises(PipelineError) as caught:
        get(*(server.url + path for path in ("/loop", "/inside", "/file")))
    for reason in ("loop: too-many-redirects", "inside: private-address", "file: scheme"):
        assert reason in caught.value.message
    assert server.hits["/loop"] == 6


def test_plain_http_without_a_sha256_warns(
    server: Server, get: Get, capsys: pytest.CaptureFixture[str]
) -> None:
    url = server.serve("/a", DATA)
    get(url, sha256=sha256(DATA))
    assert "warning" not in capsys.readouterr().err
    get(url)
    assert f"warning: {url}: http without a sha256 is not safe" in capsys.readouterr().err


def test_a_gzip_content_encoding_is_not_decoded(server: Server, get: Get, tmp_path: Path) -> None:
    packed = gzip.compress(DATA)
    server.answers["/a.tar.gz"] = whole_only(packed, headers={"Content-Encoding": "gzip"})
    get(server.url + "/a.tar.gz", sha256=sha256(packed))
    assert (tmp_path / "file.bin").read_bytes() == packed


@pytest.mark.parametrize("form", ["path", "file:", "file://localhost"])
def test_local_files_are_copied(get: Get, tmp_path: Path, form: str) -> None:
    source = tmp_path / "an archive.bin"
    source.write_bytes(DATA)
    address = str(source) if form == "path" else f"{form}{source.as_posix().replace(' ', '%20')}"
    if form == "file:":
        address = source.as_uri()
    done = get(address, sha256=sha256(DATA))
    assert done.source == address
    assert (tmp_path / "file.bin").read_bytes() == DATA
    assert source.read_bytes() == DATA
    with pytest.raises(PipelineError, match="too-large"):
        get(address, max_bytes=100)
    with pytest.raises(PipelineError, match="its sha256 is"):
        get(address, sha256=sha256(OTHER))
    with pytest.raises(PipelineError, match="scheme"):
        get("file://elsewhere/x")


def test_an_empty_file_is_downloaded(server: Server, get: Get, tmp_path: Path) -> None:
    assert get(server.serve("/a", b"")).size == 0
    assert (tmp_path / "file.bin").read_bytes() == b""


def test_a_second_download_to_the_same_folder_is_refused(
    server: Server, get: Get, tmp_path: Path
) -> None:
    server.answers["/a"] = hang
    errors: list[BaseException] = []

    def first() -> None:
        try:
            get(server.url + "/a", timeout_s=1.0)
        except PipelineError as error:
            errors.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    while not server.hits["/a"]:
        server.released.wait(0.01)
    with pytest.raises(PipelineError, match="another download uses this folder"):
        get(server.serve("/b", DATA))
    server.answers["/a"] = status(404)
    thread.join()
    assert len(errors) == 1
    assert get(server.url + "/b").size == len(DATA)


def test_progress_shows_rate_and_time_left(
    server: Server, get: Get, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    get(server.serve("/a", random.Random(2).randbytes(2_000_000)), sha256=None)
    lines = capsys.readouterr().err
    assert re.search(r"fetch file.bin: \d+/2000 kB, [\d.]+ kB/s, \d+ s left", lines)
    assert re.search(r"fetch file.bin: 2000/2000 kB", lines)


def test_a_part_folder_that_is_a_file_is_an_error(server: Server, get: Get, tmp_path: Path) -> None:
    (tmp_path / "flat").write_text("")
    with pytest.raises(OSError, match="flat"):
        get(server.serve("/a", DATA), part_folder=tmp_path / "flat")
    assert files(tmp_path) == ["flat"]
