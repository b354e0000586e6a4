"""Serve a world on this machine: image search, image hosts, an archive mirror, a request log.

Each host of the world is a port of 127.0.0.1. The host "intranet" is not among the allowed
addresses of a crawl. A correct crawl refuses the redirect to this host, so any request there is a
mistake.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from pipeline.demo.world import HOSTS, INTRANET, SEARCH, Answer, Hit, Url, World

PAGE = 35  # results per page; icrawler advances by 20, so pages overlap as Bing's do


@dataclass(frozen=True)
class Request:
    """One request that a host got, and the response."""

    time: float  # seconds since the epoch
    host: str  # its name in the world
    method: str
    path: str
    range: str | None
    status: int
    bytes: int  # of the body


@dataclass(frozen=True)
class Traffic:
    """The requests that a `Web` received, in order, and the addresses of its hosts."""

    addresses: Mapping[str, str]  # "address:port" by host of the world
    requests: Sequence[Request]

    def url(self, url: Url) -> str:
        """Return the real URL, with address and port, of a `Url` in the world."""
        return f"http://{self.addresses[url.host]}{url.path}"

    def of(self, host: str) -> list[Request]:
        """Return the requests that one host got."""
        return [request for request in self.requests if request.host == host]


class Web:
    """Serves a world while its `with` block runs."""

    def __init__(self, world: World, log: Path | None = None) -> None:
        self.world = world
        self._log = log  # gets a line of JSON for each request
        self._requests: list[Request] = []
        self._requested: Counter[Url] = Counter()
        self._lock = threading.Lock()
        self._servers = {
            host: _Server(("127.0.0.1", 0), partial(_Handler, self, host)) for host in HOSTS
        }

    def address(self, host: str) -> str:
        """Return the "address:port" of a host."""
        return f"127.0.0.1:{self._servers[host].server_port}"

    def url(self, url: Url) -> str:
        """Return the real URL, with address and port, of a `Url` in the world."""
        return f"http://{self.address(url.host)}{url.path}"

    @property
    def allowed(self) -> list[str]:
        """Return the "address:port" of each host that a crawl may reach: all but the intranet."""
        return [self.address(host) for host in HOSTS if host != INTRANET]

    def traffic(self) -> Traffic:
        """Return the requests so far."""
        with self._lock:
            return Traffic({host: self.address(host) for host in HOSTS}, tuple(self._requests))

    def requests(self, host: str) -> list[Request]:
        """Return the requests that one host got so far."""
        return self.traffic().of(host)

    def is_first(self, url: Url) -> bool:
        """Count a request for `url`; return whether it is the first."""
        with self._lock:
            self._requested[url] += 1
            return self._requested[url] == 1

    def note(self, request: Request) -> None:
        """Record a request, in memory and in the log."""
        with self._lock:
            self._requests.append(request)
            if self._log is not None:
                line = {"url": self.url(Url(request.host, request.path)), **asdict(request)}
                with self._log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")

    def __enter__(self) -> Self:
        for server in self._servers.values():
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for server in self._servers.values():
            server.shutdown()
            server.server_close()


def search_page(hits: Sequence[Hit], first: int, web: Web) -> bytes:
    """Return a page of results, from number `first` on, in the format of Bing's `images/async`."""
    items = []
    for rank, hit in enumerate(hits[first : first + PAGE], first):
        image, page = web.url(hit.image), web.url(hit.page)
        details = {"purl": page, "murl": image, "turl": image, "t": hit.title, "desc": ""}
        items.append(
            f'<li data-idx="{rank}"><div class="iuscp isv"><div class="imgpt">'
            f'<a class="iusc" m="{html.escape(json.dumps(details, separators=(",", ":")))}" '
            f'href="/images/search?view=detailV2"><div class="img_cont hoff">'
            f'<img class="mimg" alt="{html.escape(hit.title)}"></div></a></div></div></li>'
        )
    return f'<ul class="dgControl_list">{"".join(items)}</ul>'.encode()


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """Return (start, stop) of a `Range: bytes=...` header; None if it cannot be satisfied.

    If the header has several ranges, the first is used.
    """
    match = re.match(r"bytes=(\d*)-(\d*)", header)
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        return (max(size - int(last), 0), size) if int(last) else None
    start, stop = int(first), min(int(last) + 1 if last else size, size)
    return (start, stop) if start < stop else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # more than a crawl has threads

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing if a client closes its connection, as a crawl may do."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "kalai-demo", ""
    disable_nagle_algorithm = True  # else a small body waits until the header is acknowledged
    timeout = 60  # seconds until an idle connection is closed

    def __init__(self, web: Web, host: str, *args: Any) -> None:
        self.web, self.host = web, host
        super().__init__(*args)

    def do_GET(self) -> None:
        """Send the response that the world has for this path."""
        url = Url(self.host, self.path)
        answer = self._search() if self.host == SEARCH else self.web.world.answer(url)
        if answer is None:
            self._send(HTTPStatus.NOT_FOUND, b"<!DOCTYPE html><p>Not found.</p>\n")
        elif answer.location is not None:
            target = answer.location
            self._send(
                HTTPStatus.FOUND,
                headers={"Location": self.web.url(target) if isinstance(target, Url) else target},
            )
        elif answer.stumbles and self.web.is_first(url):
            if answer.stumbles == "503":
                self._send(HTTPStatus.SERVICE_UNAVAILABLE, headers={"Retry-After": "1"})
            else:
                self._send_body(answer, cut=True)
        else:
            self._send_body(answer)

    do_HEAD = do_GET  # noqa: N815

    def _search(self) -> Answer | None:
        parts = urlsplit(self.path)
        if parts.path != "/images/async":
            return None
        query = parse_qs(parts.query)
        first = query.get("first", ["0"])[0]
        hits = self.web.world.search(query.get("q", [""])[0])
        page = search_page(hits, int(first) if first.isdecimal() else 0, self.web)
        return Answer(page, "text/html; charset=utf-8")

    def _send_body(self, answer: Answer, *, cut: bool = False) -> None:
        """Send a body, or the requested range of it."""
        body = answer.body if isinstance(answer.body, bytes) else answer.body.read_bytes()
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        headers = {
            "Content-Type": answer.content_type,
            "Accept-Ranges": "bytes",
            "ETag": tag,
            **dict(answer.headers),
        }
        wanted = self.headers.get("Range")
        if not wanted or self.headers.get("If-Range", tag) != tag:
            self._send(HTTPStatus.OK, body, headers, cut=cut)
        elif span := byte_range(wanted, len(body)):
            start, stop = span
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(body)}"
            self._send(HTTPStatus.PARTIAL_CONTENT, body[start:stop], headers, cut=cut)
        else:
            headers = {"Content-Range": f"bytes */{len(body)}"}
            self._send(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers=headers)

    def _send(
        self,
        status: HTTPStatus,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        cut: bool = False,
    ) -> None:
        """Send a response; `cut` sends half of the announced body and closes the connection."""
        sent = body[: len(body) // 2] if cut else body
        wanted = self.headers.get("Range")
        self.web.note(
            Request(time.time(), self.host, self.command, self.path, wanted, int(status), len(sent))
        )
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        if cut:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(sent)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing; `Web.note` records the request."""
