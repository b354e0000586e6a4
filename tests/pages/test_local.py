"""Local pages: rendering, static files, headers and errors."""

from __future__ import annotations

import socket

import httpx
import pytest

from pipeline.core.errors import PipelineError
from pipeline.pages.local import LocalPage, serve
from pipeline.pages.request_guard import ANSWER_HEADERS


def test_a_page_is_escaped_and_has_every_header(plain_page: LocalPage, plain_url: str) -> None:
    answer = httpx.get(plain_url)
    assert answer.text == f"{plain_page.token} &lt;b&gt;"
    for name, value in ANSWER_HEADERS.items():
        assert answer.headers[name] == value
    assert answer.headers["Cache-Control"] == "no-store"
    for path in ("/static/base/base.css", "/static/base/icon.svg", "/static/page/page.js"):
        assert httpx.get(plain_url + path).status_code == 200, path


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/static/page/../templates/hello.html"])
def test_documentation_pages_and_templates_are_not_served(plain_url: str, path: str) -> None:
    answer = httpx.get(plain_url + path)
    assert answer.status_code == 404
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_errors_are_one_line(plain_url: str) -> None:
    for path, status, error in (
        ("1", 422, "truncated: at the end"),
        ("2", 400, "two lines"),
        ("x<b>", 422, "path.number: Input should be a valid integer"),
    ):
        answer = httpx.get(f"{plain_url}/number/{path}")
        assert answer.status_code == status
        assert answer.json()["error"].startswith(error)
        assert "<b>" not in answer.text


def test_a_taken_port_is_one_line(plain_page: LocalPage) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(
            PipelineError, match=rf"127.0.0.1:{port}: .*; run with --port 0 to take a free port"
        ):
            serve(plain_page, port, is_shown=False)
