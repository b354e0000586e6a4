"""The guarded session: which addresses it reaches, its limits, and the reasons of rejections."""

from __future__ import annotations

import gzip
import io
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import Rejected
from pipeline.http.client import Fetched, GuardedSession, HttpRejected, Limits, get, open_response
from pipeline.http.guard import is_public
from tests.loopback import Exchange, Server, drip, hang, in_turn, redirect, reset, serving, status

QUICK = Limits(max_bytes=100_000, timeout_s=0.6, connect_s=0.5, backoff_s=0.01, max_wait_s=2)


@pytest.fixture
def web() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def session(web: Server) -> Iterator[GuardedSession]:
    with GuardedSession("kalai-test", [web.host]) as opened_session:
        yield opened_session


def refusal(session: GuardedSession, url: str, limits: Limits = QUICK, **more: Any) -> Rejected:
    with pytest.raises(Rejected) as caught:
        get(session, url, limits, **more)
    return caught.value


PRIVATE = [
    "127.0.0.1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.100.100.200",
    "0.0.0.0",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "198.18.0.1",
    "168.63.129.16",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:4700::1111", "::ffff:93.184.216.34", "64:ff9b::8.8.8.8"]
)
def test_public_addresses_are(address: str) -> None:
    assert is_public(address)


def test_a_body_comes_whole(web: Server, session: GuardedSession) -> None:
    body = bytes(range(256)) * 300
    url = web.serve("/a", body, Content_Type="Image/PNG; charset=x")
    found = get(session, url, QUICK)
    assert found.body == body
    assert (found.size, found.url, found.status) == (len(body), url, 200)
    assert found.content_type == "image/png"
    assert web.requests[0][2]["User-Agent"] == "kalai-test"


def test_into_receives_the_bytes(web: Server, session: GuardedSession, tmp_path: Path) -> None:
    url = web.serve("/a", b"picture")
    with (tmp_path / "a").open("wb") as file:
        assert get(session, url, QUICK, into=file).body == b""
    assert (tmp_path / "a").read_bytes() == b"picture"


def test_a_connection_is_used_again(web: Server, session: GuardedSession) -> None:
    for number in range(3):
        get(session, web.serve(f"/{number}", b"x"), QUICK)
    assert web.connections == 1


@pytest.mark.parametrize("url", ["file:///etc/passwd", "data:image/png;base64,AAAA", "ftp://x/y"])
def test_schemes(session: GuardedSession, url: str) -> None:
    assert refusal(session, url).reason == "scheme"


@pytest.mark.parametrize("url", ["http://", "http://[::1", "http://a:b/", "http://" + "a" * 70])
def test_invalid_urls(session: GuardedSession, url: str) -> None:
    assert refusal(session, url).reason in {"invalid-url", "dns"}


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0"],
)
def test_private_hosts_are_refused_without_a_connection(web: Server, host: str) -> None:
    port = web.server_address[1]
    with GuardedSession("kalai-test") as session:
        refused = refusal(session, f"http://{host}:{port}/")
    assert refused.reason == "private-address"
    assert not web.requests


def test_allowed_is_this_host_and_port_only(web: Server, session: GuardedSession) -> None:
    with serving() as other:
        assert refusal(session, other.url + "/").reason == "private-address"
        port = web.server_address[1]
        assert refusal(session, f"http://localhost:{port}/").reason == "private-address"
        assert not other.requests


def test_a_redirect_into_the_private_network(web: Server, session: GuardedSession) -> None:
    with serving() as inner:
        web.answers["/a"] = redirect(inner.url + "/secret")
        assert refusal(session, web.url + "/a").reason == "private-address"
        # redirects that requests itself follows are checked, too
        with pytest.raises(Rejected, match="private-address"):
            session.get(web.url + "/a")
        assert not inner.requests


def test_a_redirect_to_a_file(web: Server, session: GuardedSession) -> None:
    web.answers["/a"] = redirect("file:///etc/passwd")
    assert refusal(session, web.url + "/a").reason == "scheme"


def test_a_host_that_changes_its_address(web: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that resolves to a public address first and a private one later is not reached."""
    asked = []

    def resolver(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        address = "203.0.114.7" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    url = f"http://rebind.example:{web.server_address[1]}/"
    with GuardedSession("kalai-test") as session:
        first = refusal(session, url, Limits(timeout_s=0.3, connect_s=0.3, tries=1))
        assert first.reason in {"timeout", "connection"}  # it tried the public address only
        assert asked == ["rebind.example"]
        assert refusal(session, url).reason == "private-address"
    assert not web.requests


def test_the_peer_s_address_is_checked(web: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer's address is checked, too, whatever the resolver returned."""
    host, port = web.server_address[:2]
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("203.0.114.7", port))],
    )
    real = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", lambda self, _: real(self, (host, port)))
    with GuardedSession("kalai-test") as session:
        refused = refusal(session, f"http://routed.example:{port}/")
    assert (refused.reason, refused.detail) == (
        "private-address",
        "routed.example connected to 127.0.0.1",
    )
    assert not web.requests


def test_redirects_are_followed_and_counted(web: Server, session: GuardedSession) -> None:
    web.answers["/1"] = redirect("2")
    web.answers["/2"] = redirect("/நடனம்".encode().decode("latin-1"), 308)
    web.serve("/%E0%AE%A8%E0%AE%9F%E0%AE%A9%E0%AE%AE%E0%AF%8D", b"here")
    found = get(session, web.url + "/1", QUICK)
    assert found.body == b"here"
    assert found.url == web.url + "/நடனம்"
    web.answers["/loop"] = redirect("/loop", 301)
    assert refusal(session, web.url + "/loop").reason == "too-many-redirects"
    assert web.hits["/loop"] == 6


def test_too_large(web: Server, session: GuardedSession) -> None:
    def endless(exchange: Any) -> None:
        exchange.send_response(200)
        exchange.end_headers()
        exchange.close_connection = True
        while not exchange.server.released.is_set():
            exchange.wfile.write(b"x" * 10_000)

    web.answers["/endless"] = endless
    assert refusal(session, web.url + "/endless").reason == "too-large"
    web.serve("/declared", b"", Content_Length="200000000")
    refused = refusal(session, web.url + "/declared")
    assert (refused.reason, refused.detail) == ("too-large", "200000000 bytes declared")
    web.serve("/bomb", gzip.compress(bytes(50_000_000)), Content_Encoding="gzip")
    assert refusal(session, web.url + "/bomb").reason == "too-large"


def test_a_body_that_is_not_in_its_encoding(web: Server, session: GuardedSession) -> None:
    web.serve("/a", b"not gzip", Content_Encoding="gzip")
    assert refusal(session, web.url + "/a").reason == "encoding"
    assert web.hits["/a"] == 1


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"


@pytest.mark.parametrize(
    "answer", [hang, drip(HEAD * 9), drip(HEAD + bytes(500))], ids=["hang", "headers", "body"]
)
def test_a_deadline_ends_an_endless_response(
    web: Server, session: GuardedSession, answer: Any
) -> None:
    web.answers["/a"] = answer
    started = time.monotonic()
    assert refusal(session, web.url + "/a").reason == "timeout"
    assert 0.5 < time.monotonic() - started < 1.5
    assert web.hits["/a"] == 1, "a timeout is not retried"


def test_the_deadline_covers_all_hops(web: Server, session: GuardedSession) -> None:
    def slow(exchange: Any) -> None:
        time.sleep(0.25)
        redirect("/a")(exchange)

    web.answers["/a"] = slow
    started = time.monotonic()
    assert refusal(session, web.url + "/a").reason == "timeout"
    assert time.monotonic() - started < 1.2


def test_temporary_failures_are_retried(web: Server, session: GuardedSession) -> None:
    web.serve("/good", b"yes")
    for first in (status(503), status(429), reset, lambda e: e.reply(b"", 200, SHORT)):
        path = "/a"
        web.hits.clear()
        web.answers[path] = in_turn(first, first, web.answers["/good"])
        heard: list[tuple[Rejected, float]] = []
        found = get(
            session, web.url + path, QUICK, on_retry=lambda *why, heard=heard: heard.append(why)
        )
        assert found.body == b"yes"
        assert (len(heard), web.hits[path]) == (2, 3)


def test_waits_double_and_are_random(web: Server, session: GuardedSession) -> None:
    web.answers["/a"] = status(503)
    waits: list[list[float]] = []
    for _ in range(5):
        heard: list[float] = []
        refusal(
            session,
            web.url + "/a",
            Limits(tries=4, backoff_s=0.01),
            on_retry=lambda _, wait_s, heard=heard: heard.append(wait_s),
        )
        waits.append(heard)
    for number, of_try in enumerate(zip(*waits, strict=True)):
        assert all(0.005 * 2**number <= wait <= 0.01 * 2**number for wait in of_try)
        assert len(set(of_try)) == 5, "else clients that were refused together would retry together"


SHORT = {"Content-Length": "10", "Connection": "close"}


def test_a_short_body_is_a_broken_connection(web: Server, session: GuardedSession) -> None:
    web.answers["/a"] = lambda exchange: exchange.reply(b"12345", headers=SHORT)
    refused = refusal(session, web.url + "/a")
    assert refused.reason == "connection"
    assert "IncompleteRead" in refused.detail
    assert web.hits["/a"] == 3


@pytest.mark.parametrize("code", [400, 403, 404, 410, 451, 204])
def test_a_refusal_is_not_retried(web: Server, session: GuardedSession, code: int) -> None:
    web.answers["/a"] = status(code)
    refused = refusal(session, web.url + "/a")
    assert isinstance(refused, HttpRejected)
    assert (refused.reason, refused.status, refused.url) == (f"http-{code}", code, web.url + "/a")
    assert web.hits["/a"] == 1


def test_retry_after_is_honoured(web: Server, session: GuardedSession) -> None:
    web.serve("/good", b"yes")
    web.answers["/a"] = in_turn(status(429, Retry_After="1"), web.answers["/good"])
    get(session, web.url + "/a", QUICK)
    (first, *_), (second, *_) = web.requests
    assert second - first >= 1.0
    moment = datetime.now(UTC) + timedelta(hours=1)
    web.answers["/late"] = status(503, Retry_After=moment.strftime("%a, %d %b %Y %H:%M:%S GMT"))
    started = time.monotonic()
    assert refusal(session, web.url + "/late").reason == "http-503"
    assert web.hits["/late"] == 1, "the host asks for more than max_wait_s"
    assert time.monotonic() - started < 1


def test_unreachable_hosts(session: GuardedSession) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{unused.getsockname()[1]}"
        with GuardedSession("kalai-test", [closed]) as allowed:
            assert refusal(allowed, f"http://{closed}/").reason == "connection"
    assert refusal(session, "http://no-such-host.invalid/").reason == "dns"


def test_tls(web: Server, tmp_path: Path) -> None:
    certificate = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving() as secure:
        secure.socket = context.wrap_socket(secure.socket, server_side=True)
        url = secure.serve("/a", b"secret").replace("http:", "https:")
        with GuardedSession("kalai-test", [secure.host, web.host]) as session:
            assert refusal(session, url).reason == "tls"
        with GuardedSession("kalai-test", [secure.host, web.host], ca_file=certificate) as session:
            assert get(session, url, QUICK).body == b"secret"
            secure.answers["/drip"] = drip(HEAD + bytes(500))
            assert refusal(session, url.replace("/a", "/drip")).reason == "timeout"
            not_tls = web.url.replace("http:", "https:")
            assert refusal(session, not_tls).reason == "tls"


def _certificate(folder: Path) -> str:
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
    builder = builder.public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    signed = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    path = folder / "loopback.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return str(path)


def test_proxies_in_the_environment_are_ignored(
    web: Server, session: GuardedSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        assert get(session, web.serve("/a", b"direct"), QUICK).body == b"direct"
        assert not proxy.requests


def test_a_proxy_from_params(web: Server) -> None:
    with GuardedSession("kalai-test", proxy=web.url) as session:
        web.fallback = lambda exchange: exchange.reply(exchange.path.encode())
        target = "http://pictures.invalid/a.jpg"
        assert get(session, target, QUICK).body == target.encode()
        asked = len(web.requests)
        assert refusal(session, "http://127.0.0.1:9/").reason == "private-address"
        assert len(web.requests) == asked


def test_cut_ends_all_requests_at_once(web: Server, session: GuardedSession) -> None:
    web.answers["/a"] = hang
    seen: list[str] = []
    patient = Limits(timeout_s=20)
    threads = [
        threading.Thread(
            target=lambda: seen.append(refusal(session, web.url + "/a", patient).reason)
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    while web.hits["/a"] < 4:
        time.sleep(0.01)
    started = time.monotonic()
    session.cut()
    for thread in threads:
        thread.join(5)
    assert time.monotonic() - started < 1
    assert seen == ["stopped"] * 4
    assert refusal(session, web.url + "/b").reason == "stopped"


def test_cut_ends_a_connection_attempt() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        host = f"127.0.0.1:{deaf.getsockname()[1]}"
        callers = [socket.socket() for _ in range(3)]  # more than its queue holds
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(deaf.getsockname())
        time.sleep(0.05)
        with GuardedSession("kalai-test", [host]) as session:
            seen: list[str] = []
            patient = Limits(timeout_s=20, connect_s=20)
            thread = threading.Thread(
                target=lambda: seen.append(refusal(session, f"http://{host}/", patient).reason)
            )
            thread.start()
            time.sleep(0.2)
            assert seen == [], "it still waits for the connection"
            session.cut()
            thread.join(2)
            assert seen == ["stopped"]
        for caller in callers:
            caller.close()


def test_a_full_disk_is_an_os_error(web: Server, session: GuardedSession) -> None:
    class Full(io.BytesIO):
        def write(self, _: Any) -> int:
            raise OSError(28, "No space left on device")

    url = web.serve("/a", b"x")
    with pytest.raises(OSError, match="No space left"):
        get(session, url, QUICK, into=Full())


def test_silence_only_bounds_each_wait_for_data(web: Server, session: GuardedSession) -> None:
    def slow(exchange: Exchange) -> None:
        time.sleep(0.2)
        exchange.send_response(200)
        exchange.send_header("Content-Length", "9")
        exchange.end_headers()
        for _ in range(9):
            exchange.wfile.write(b"x")
            time.sleep(0.15)

    web.answers["/a"] = slow
    with open_response(session, web.url + "/a", 0.4, silence_only=True) as response:
        body = b"".join(iter(lambda: response.raw.read1(9), b""))
    assert body == b"x" * 9
    web.answers["/b"] = drip(HEAD + bytes(500))
    with pytest.raises(Rejected, match="timeout"), open_response(session, web.url + "/b", 0.2):
        pass


def test_a_response_without_a_media_type() -> None:
    assert Fetched("u", 200, {}, 0).content_type is None
