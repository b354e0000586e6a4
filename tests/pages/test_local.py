"""Local pages: who may ask them for what, and what every answer says."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import Request

from pipeline.core.errors import PipelineError, Rejected
from pipeline.pages.guard import ANSWER_HEADERS, TOKEN_HEADER
from pipeline.pages.local import LocalPage, serve
from tests.browsing import served


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> LocalPage:
    """A page with a route to read, one to change something, and two that fail."""
    folder = tmp_path_factory.mktemp("page")
    for name in ("templates", "static"):
        (folder / name).mkdir()
    (folder / "templates" / "hello.html").write_text("{{ token }} {{ word }}")
    (folder / "static" / "page.js").write_text("")
    page = LocalPage("Test", folder, max_body=1000)
    page.app.get("/")(lambda: page.render("hello.html", word="<b>"))

    @page.app.post("/change")
    async def change(request: Request) -> int:
        return len(await request.body())

    @page.app.get("/number/{number}")
    def number(number: int) -> int:
        if number == 1:
            raise Rejected("truncated", "at the end")
        raise PipelineError("not\nso")

    return page


@pytest.fixture(scope="module")
def url(page: LocalPage) -> Iterator[str]:
    """Serve the page on a port of its own."""
    with served(page) as address:
        yield address


def test_a_page_is_rendered_escaped_with_every_header(page: LocalPage, url: str) -> None:
    answer = httpx.get(url)
    assert answer.text == f"{page.token} &lt;b&gt;"
    for name, value in ANSWER_HEADERS.items():
        assert answer.headers[name] == value
    assert answer.headers["Cache-Control"] == "no-store"
    for path in ("/static/base/base.css", "/static/base/icon.svg", "/static/page/page.js"):
        assert httpx.get(url + path).status_code == 200, path


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/static/page/../templates/hello.html"])
def test_what_is_not_meant_for_the_browser_is_not_there(url: str, path: str) -> None:
    answer = httpx.get(url + path)
    assert answer.status_code == 404
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "[::1]:1"])
def test_another_host_is_refused(url: str, host: str) -> None:
    port = url.rsplit(":", 1)[1]
    answer = httpx.get(url, headers={"Host": host.format(port=port)})
    assert answer.status_code == 421
    assert answer.json() == {"error": "this page is not on that host"}


def test_localhost_is_this_machine_too(url: str) -> None:
    port = url.rsplit(":", 1)[1]
    assert httpx.get(url, headers={"Host": f"localhost:{port}"}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:1", ""])
def test_another_origin_is_refused_token_or_not(page: LocalPage, url: str, origin: str) -> None:
    headers = {"Origin": origin, TOKEN_HEADER: page.token}
    for method in ("GET", "POST"):
        answer = httpx.request(method, f"{url}/change", headers=headers)
        assert answer.status_code == 403, method


@pytest.mark.parametrize("token", [None, "", "x", "é"])
def test_a_change_needs_the_token(url: str, token: str | None) -> None:
    headers = {} if token is None else {TOKEN_HEADER: token.encode()}
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        answer = httpx.request(method, f"{url}/change", headers=headers)  # type: ignore[arg-type]
        assert answer.status_code == 403, method


def test_a_change_with_it_is_made(page: LocalPage, url: str) -> None:
    headers = {"Origin": url, TOKEN_HEADER: page.token}
    answer = httpx.post(f"{url}/change", headers=headers, content=b"x" * 1000)
    assert answer.json() == 1000


def test_a_body_is_capped_told_its_length_or_not(page: LocalPage, url: str) -> None:
    headers = {TOKEN_HEADER: page.token}
    told = httpx.post(f"{url}/change", headers=headers, content=b"x" * 1001)
    streamed = httpx.post(f"{url}/change", headers=headers, content=iter([b"x" * 600] * 2))
    for answer in (told, streamed):
        assert answer.status_code == 413
        assert answer.json() == {"error": "more than 1000 bytes"}


def test_errors_are_one_line(url: str) -> None:
    for path, status, said in (
        ("1", 422, "truncated: at the end"),
        ("2", 400, "not so"),
        ("x<b>", 422, "path.number: Input should be a valid integer"),
    ):
        answer = httpx.get(f"{url}/number/{path}")
        assert answer.status_code == status
        assert answer.json()["error"].startswith(said)
        assert "<b>" not in answer.text


def test_a_taken_port_is_one_line(page: LocalPage, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PipelineError, match=rf"127.0.0.1:{port}: .*; try --port 0"):
            serve(page, port, is_shown=False)
