"""Politeness towards hosts: robots.txt, rate limits, and opt-outs in the headers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from protego import Protego

from pipeline.core.errors import Rejected
from pipeline.http.client import GuardedSession, Limits, get, retry_after_s

AGENT = "kalai"  # this crawler's name in robots.txt and X-Robots-Tag
ROBOTS_BYTES = 512_000  # RFC 9309, 2.5, demands at least this much; a longer file is an error
OPT_OUT = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
# directives with a colon; the text before the colon is not a crawler's name
_VALUED = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})


@dataclass
class _Host:
    """The state of one host and port."""

    slots: threading.BoundedSemaphore
    delay_s: float
    lock: threading.Lock = field(default_factory=threading.Lock)
    robots: Protego | Rejected | None = None  # Rejected if robots.txt could not be read
    free_at: float = 0.0  # time.monotonic() at which the next request may start


class HostPoliteness:
    """Politeness towards each host: robots.txt, concurrent requests, and the time between them.

    At most `per_host` requests to a host run at once, and at least `delay_s` seconds pass between
    the starts of two. With `robots=False`, robots.txt is not read. With `opt_out=False`, headers
    are not checked.
    """

    def __init__(
        self,
        session: GuardedSession,
        limits: Limits,
        *,
        robots: bool = True,
        opt_out: bool = True,
        per_host: int = 4,
        delay_s: float = 0.1,
        stop: threading.Event | None = None,
    ) -> None:
        self.session, self.limits = session, limits
        self.robots, self.opt_out = robots, opt_out
        self.per_host, self.delay_s = per_host, delay_s
        self.stop = stop or threading.Event()
        self._hosts: dict[str, _Host] = {}
        self._lock = threading.Lock()

    def _host(self, url: str) -> _Host:
        name = self._name(url)
        with self._lock:
            if name not in self._hosts:
                slots = threading.BoundedSemaphore(self.per_host)
                self._hosts[name] = _Host(slots, self.delay_s)
            return self._hosts[name]

    @staticmethod
    def _name(url: str) -> str:
        try:
            parts = urlsplit(url)
        except ValueError as error:
            raise Rejected("invalid-url", str(error)) from error
        return f"{parts.scheme}://{parts.netloc}"

    @contextmanager
    def turn(self, url: str) -> Iterator[None]:
        """Wait until the URL's host may get another request; count one as running in the block.

        Raises Rejected. Its reason is "robots" if robots.txt forbids the URL, "busy" if the wait
        would exceed `limits.max_wait_s`, or else the reason why robots.txt could not be read.
        """
        host = self._host(url)
        if self.robots and url.lower().startswith(("http://", "https://")):
            self._check_robots(host, url)
        with host.slots:
            self._pause(host)
            yield

    def _check_robots(self, host: _Host, url: str) -> None:
        with host.lock:  # one thread reads robots.txt, the others wait for it
            if host.robots is None:
                host.robots = self._read_robots(self._name(url) + "/robots.txt")
                if isinstance(host.robots, Protego):
                    crawl_delay_s = host.robots.crawl_delay(AGENT) or 0.0
                    host.delay_s = max(host.delay_s, crawl_delay_s)
            robots = host.robots
        if isinstance(robots, Rejected):
            raise Rejected(robots.reason, f"its robots.txt: {robots.detail}")
        if not robots.can_fetch(url, AGENT):
            raise Rejected("robots", "its robots.txt disallows it")

    def _read_robots(self, url: str) -> Protego | Rejected:
        """Return the rules of a host, or the reason why they could not be read.

        A missing robots.txt (4xx) allows all URLs; a failure allows none (RFC 9309, 2.3).
        """
        limits = Limits(ROBOTS_BYTES, self.limits.timeout_s, self.limits.connect_s, tries=1)
        try:
            body = get(self.session, url, limits, stop=self.stop).body
        except Rejected as refusal:
            if not refusal.reason.startswith("http-4") or refusal.reason == "http-429":
                return refusal
            body = b""
        return Protego.parse(body.decode("utf-8", "replace"))

    def _pause(self, host: _Host) -> None:
        with host.lock:
            now = time.monotonic()
            start = max(now, host.free_at)
            if start - now > self.limits.max_wait_s:
                raise Rejected("busy", f"its next request is allowed in {start - now:.0f} s")
            host.free_at = start + host.delay_s
        if self.stop.wait(max(0.0, start - now)):
            raise Rejected("stopped")

    def check_response(self, url: str, status: int, headers: Mapping[str, str]) -> None:
        """Raise Rejected (opt-out) if the headers forbid the use; note a Retry-After for the host.

        X-Robots-Tag is read as Google documents it, plus noai and noimageai. TDM-Reservation is
        read as the TDM Reservation Protocol of the W3C community group defines it.
        """
        if status in (429, 503) and (seconds := retry_after_s(headers.get("Retry-After"))):
            host = self._host(url)
            with host.lock:
                host.free_at = max(host.free_at, time.monotonic() + seconds)
        if not self.opt_out or status != 200:
            return
        if found := OPT_OUT & set(directives(headers.get("X-Robots-Tag", ""))):
            raise Rejected("opt-out", f"X-Robots-Tag: {min(found)}")
        if headers.get("TDM-Reservation", "").strip() == "1":
            raise Rejected("opt-out", "TDM-Reservation: 1")


def directives(tag: str) -> list[str]:
    """Return the directives of an X-Robots-Tag that apply to all crawlers or to kalai.

    In "googlebot: noindex, nofollow, kalai: noai", the directives after a name apply to that
    crawler, up to the next name.
    """
    found = []
    agent = AGENT
    for part in tag.lower().split(","):
        name, colon, rest = part.partition(":")
        if colon and name.strip() not in _VALUED:
            agent, part = name.strip(), rest  # noqa: PLW2901
        if agent in (AGENT, "*"):
            found.append(part.strip())
    return found
