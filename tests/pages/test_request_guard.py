"""The request guard: hosts, origins, the token and the size of bodies."""

from __future__ import annotations

import httpx
import pytest

from pipeline.pages.local import LocalPage
from pipeline.pages.request_guard import TOKEN_HEADER


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "[::1]:1"])
def test_another_host_is_refused(plain_url: str, host: str) -> None:
    port = plain_url.rsplit(":", 1)[1]
    answer = httpx.get(plain_url, headers={"Host": host.format(port=port)})
    assert answer.status_code == 421
    assert answer.json() == {
        "error": "Host is not this server; open the address that kalai printed"
    }


def test_localhost_is_accepted(plain_url: str) -> None:
    port = plain_url.rsplit(":", 1)[1]
    assert httpx.get(plain_url, headers={"Host": f"localhost:{port}"}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:1", ""])
def test_another_origin_is_refused_with_the_token_or_without(
    plain_page: LocalPage, plain_url: str, origin: str
) -> None:
    headers = {"Origin": origin, TOKEN_HEADER: plain_page.token}
    for method in ("GET", "POST"):
        answer = httpx.request(method, f"{plain_url}/change", headers=headers)
        assert answer.status_code == 403, method


@pytest.mark.parametrize("token", [None, "", "x", "é"])
def test_a_change_needs_the_token(plain_url: str, token: str | None) -> None:
    headers = {} if token is None else {TOKEN_HEADER: token.encode()}
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        answer = httpx.request(method, f"{plain_url}/change", headers=headers)  # type: ignore[arg-type]
        assert answer.status_code == 403, method


def test_a_change_with_the_token_is_made(plain_page: LocalPage, plain_url: str) -> None:
    headers = {"Origin": plain_url, TOKEN_HEADER: plain_page.token}
    answer = httpx.post(f"{plain_url}/change", headers=headers, content=b"x" * 1000)
    assert answer.json() == 1000


def test_a_body_is_limited_with_a_length_or_without(plain_page: LocalPage, plain_url: str) -> None:
    headers = {TOKEN_HEADER: plain_page.token}
    with_length = httpx.post(f"{plain_url}/change", headers=headers, content=b"x" * 1001)
    streamed = httpx.post(f"{plain_url}/change", headers=headers, content=iter([b"x" * 600] * 2))
    for answer in (with_length, streamed):
        assert answer.status_code == 413
        assert answer.json() == {
            "error": "the request's body is too large; at most 1000 bytes are allowed"
        }
