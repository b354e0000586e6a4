"""A web server on the loopback whose every answer a test scripts, byte by byte if it must."""

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
    """One request and the answer to it."""

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
        """Send a whole answer; a Content-Length among `headers` replaces the true one."""
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | dict(headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Stay quiet."""


class Server(ThreadingHTTPServer):
    """`answers` by path; `hits` counts requests by path, `requests` lists them."""

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
        self.released = threading.Event()  # set at the end, so that no hanging answer stays
        self.at_once = self.most_at_once = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def serve(self, path: str, body: bytes, **headers: str) -> str:
        """Answer `path` with `body`; return its URL."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = lambda exchange: exchange.reply(body, headers=named)
        return self.url + path

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count the answers under way."""
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            yield
        finally:
            with self.lock:
                self.at_once -= 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what is tested."""


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server for the length of a block."""
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
    """Say nothing until the test is over."""
    exchange.close_connection = True
    exchange.server.released.wait(30)


def reset(exchange: Exchange) -> None:
    """Break the connection without a word."""
    exchange.close_connection = True
    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # on, 0 s: close() sends RST
    exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    exchange.connection.close()


def drip(data: bytes, every_s: float = 0.05) -> Answer:
    """Send `data` raw (status line, headers and all), a byte at a time."""

    def answer(exchange: Exchange) -> None:
        exchange.close_connection = True
        for at in range(len(data)):
            exchange.wfile.write(data[at : at + 1])
            exchange.wfile.flush()
            if exchange.server.released.wait(every_s):
                return

    return answer


def redirect(location: str, status: int = 302) -> Answer:
    """Send the visitor elsewhere."""
    return lambda exchange: exchange.reply(status=status, headers={"Location": location})


def in_turn(*answers: Answer) -> Answer:
    """Answer the first request with the first, and so on; the last one stays."""
    waiting = list(answers)

    def answer(exchange: Exchange) -> None:
        with exchange.server.lock:
            now = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        now(exchange)

    return answer


def status(code: int, **headers: str) -> Answer:
    """Answer with a status and nothing else."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda exchange: exchange.reply(b"", code, named)


def ranged(
    data: bytes, etag: str | None = '"one"', cut: int | None = None, modified: str | None = None
) -> Answer:
    """Serve `data` as RFC 9110 says; hang up after `cut` bytes of each answer."""

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
