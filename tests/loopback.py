"""A web server on the loopback; a test scripts each response, byte by byte if needed."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Exchange"], None]


class Exchange(BaseHTTPRequestHandler):
    """One request and its response."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        with self.server.lock:
            self.server.hits[path] += 1
            self.server.requests.append((time.monotonic(), self.path, dict(self.headers)))
        answer = self.server.answers.get(path, self.server.fallback)
        with self.server.counting():
            answer(self)

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def reply(
        self, body: bytes = b"", status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a complete response; a Content-Length in `headers` replaces the true one."""
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | dict(headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Print nothing."""


class Server(ThreadingHTTPServer):
    """Responds with `answers` by path; `hits` counts requests by path, `requests` lists them.

    `connections` counts connections, `most_at_once` is the maximum of concurrent requests.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.answers: dict[str, Answer] = {}
        self.fallback: Answer = lambda exchange: exchange.reply(b"", 404)
        self.hits: Counter[str] = Counter()
        self.requests: list[tuple[float, str, dict[str, str]]] = []
        self.lock = threading.Lock()
        self.released = threading.Event()  # set at the end, so that a hanging answer returns
        self.at_once = self.most_at_once = self.connections = 0

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def serve(self, path: str, body: bytes, **headers: str) -> str:
        """Respond to `path` with `body`; return its URL."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = lambda exchange: exchange.reply(body, headers=named)
        return self.url + path

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count concurrent requests."""
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            yield
        finally:
            with self.lock:
                self.at_once -= 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that close the connection, which tests do on purpose."""


@contextmanager
def serving() -> Iterator[Server]:
    """Give a server that runs during the block."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


def hang(exchange: Exchange) -> None:
    """Send nothing until the test ends."""
    exchange.close_connection = True
    exchange.server.released.wait(30)


def reset(exchange: Exchange) -> None:
    """Reset the connection."""
    exchange.close_connection = True
    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # on, 0 s: close() sends RST
    exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    exchange.connection.close()


def drip(data: bytes, every_s: float = 0.05) -> Answer:
    """Return an answer that sends `data`, status line and headers included, byte by byte."""

    def answer(exchange: Exchange) -> None:
        exchange.close_connection = True
        for at in range(len(data)):
            exchange.wfile.write(data[at : at + 1])
            exchange.wfile.flush()
            if exchange.server.released.wait(every_s):
                return

    return answer


def redirect(location: str, status: int = 302) -> Answer:
    """Return an answer that redirects."""
    return lambda exchange: exchange.reply(status=status, headers={"Location": location})


def in_turn(*answers: Answer) -> Answer:
    """Return an answer that uses one of `answers` for each request in order; the last one stays."""
    waiting = list(answers)

    def answer(exchange: Exchange) -> None:
        with exchange.server.lock:
            now = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        now(exchange)

    return answer


def status(code: int, **headers: str) -> Answer:
    """Return an answer of a status and headers, without a body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda exchange: exchange.reply(b"", code, named)


def ranged(
    data: bytes, etag: str | None = '"one"', cut: int | None = None, modified: str | None = None
) -> Answer:
    """Return an answer that serves ranges of `data` (RFC 9110), and closes after `cut` bytes."""

    def answer(exchange: Exchange) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", exchange.headers.get("Range", ""))
        condition = exchange.headers.get("If-Range")
        begin = int(asked[1]) if asked and condition in (None, etag, modified) else 0
        headers = {"Accept-Ranges": "bytes"}
        headers |= {"ETag": etag} if etag else {}
        headers |= {"Last-Modified": modified} if modified else {}
        if begin >= len(data):
            exchange.reply(b"", 416, headers | {"Content-Range": f"bytes */{len(data)}"})
            return
        body = data[begin:]
        headers["Content-Length"] = str(len(body))
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        if cut is not None and cut < len(body):
            exchange.close_connection = True
            body = body[:cut]
        exchange.reply(body, 206 if begin else 200, headers)

    return answer
