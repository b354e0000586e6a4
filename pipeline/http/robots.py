"""What a polite visitor does: asks robots.txt, waits its turn, and takes no for an answer."""

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

AGENT = "kalai"  # the name that robots.txt and X-Robots-Tag may call us by
ROBOTS_BYTES = 512_000  # a crawler must read as much (RFC 9309, 2.5); longer ones are not tried
OPT_OUT = frozenset({"noai", "noimageai", "noindex", "noimageindex", "none"})
# Directives that have a colon of their own, and so are no names of crawlers.
_VALUED = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})


@dataclass
class _Host:
    """What is known of one host and port."""

    slots: threading.BoundedSemaphore
    delay_s: float
    lock: threading.Lock = field(default_factory=threading.Lock)
    robots: Protego | Rejected | None = None  # a Rejected: they could not be read
    free_at: float = 0.0  # when the next request may start


class HostPoliteness:
    """Politeness towards every image host: robots.txt, few requests at once, a pause between them.

    `robots=False` asks for no robots.txt and `opt_out=False` reads no opt-out headers.
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
        """Wait for a turn at this URL's host and hold it.

        Raises Rejected: robots where robots.txt says no; what kept us from reading it; busy where
        the turn would come later than `limits.max_wait_s`.
        """
        host = self._host(url)
        if self.robots and url.lower().startswith(("http://", "https://")):
            self._ask(host, url)
        with host.slots:
            self._pause(host)
            yield

    def _ask(self, host: _Host, url: str) -> None:
        with host.lock:  # the first asks, the others wait for the answer
            if host.robots is None:
                host.robots = self._read(self._name(url) + "/robots.txt")
                if isinstance(host.robots, Protego):
                    asked = host.robots.crawl_delay(AGENT) or 0.0
                    host.delay_s = max(host.delay_s, asked)
            robots = host.robots
        if isinstance(robots, Rejected):
            raise Rejected(robots.reason, f"its robots.txt: {robots.detail}")
        if not robots.can_fetch(url, AGENT):
            raise Rejected("robots", "its robots.txt says no")

    def _read(self, url: str) -> Protego | Rejected:
        """Read robots.txt: none (4xx) allows all, one that fails allows nothing (RFC 9309, 2.3)."""
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
                raise Rejected("busy", f"its next turn is in {start - now:.0f} s")
            host.free_at = start + host.delay_s
        if self.stop.wait(max(0.0, start - now)):
            raise Rejected("stopped")

    def check_response(self, url: str, status: int, headers: Mapping[str, str]) -> None:
        """Raise Rejected (opt-out) where the headers say no; remember a Retry-After for the host.

        X-Robots-Tag as Google documents it, with noai and noimageai; TDM-Reservation as the W3C
        community group's TDM Reservation Protocol defines it.
        """
        if status in (429, 503) and (seconds := retry_after_s(headers.get("Retry-After"))):
            host = self._host(url)
            with host.lock:
                host.free_at = max(host.free_at, time.monotonic() + seconds)
        if not self.opt_out or status != 200:
            return
        if said := OPT_OUT & set(directives(headers.get("X-Robots-Tag", ""))):
            raise Rejected("opt-out", f"X-Robots-Tag: {min(said)}")
        if headers.get("TDM-Reservation", "").strip() == "1":
            raise Rejected("opt-out", "TDM-Reservation: 1")


def directives(tag: str) -> list[str]:
    """Return the directives of an X-Robots-Tag that are meant for everyone or for us.

    "googlebot: noindex, nofollow, kalai: noai" names a crawler, to whom all that follows is said
    until the next name.
    """
    meant = []
    agent = AGENT
    for part in tag.lower().split(","):
        name, colon, rest = part.partition(":")
        if colon and name.strip() not in _VALUED:
            agent, part = name.strip(), rest  # noqa: PLW2901
        if agent in (AGENT, "*"):
            meant.append(part.strip())
    return meant
