"""A visitor: a guarded session with the caps, the patience and the politeness of params.yaml."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from pipeline import __version__
from pipeline.core.params import Crawl
from pipeline.http.client import GuardedSession, Limits, get
from pipeline.http.robots import HostPoliteness


class PoliteSession:
    """Asks hosts for files as the section `crawl` says; `stop` ends every wait of its own."""

    def __init__(self, params: Crawl) -> None:
        about = f"; +{params.contact}" if params.contact else ""
        self.stop = threading.Event()
        self.session = GuardedSession(
            f"kalai/{__version__} (image data set crawler{about})",
            params.allow_hosts,
            proxy=params.proxy,
            pool=params.threads,
        )
        self.limits = Limits(
            params.max_bytes,
            params.timeout_s,
            tries=params.tries,
            backoff_s=params.backoff_s,
            max_wait_s=params.max_wait_s,
        )
        self.politeness = HostPoliteness(
            self.session,
            self.limits,
            robots=params.robots,
            opt_out=params.opt_out,
            per_host=params.per_host,
            delay_s=params.host_delay_s,
            stop=self.stop,
        )
        # An engine is asked what it is there to be asked; robots.txt is for what it links to.
        self.engine_politeness = HostPoliteness(
            self.session,
            self.limits,
            robots=False,
            opt_out=False,
            per_host=1,
            delay_s=params.engine_delay_s,
            stop=self.stop,
        )

    def get(self, url: str) -> bytes:
        """Return what lies at a URL; raise Rejected with a reason."""
        return get(self.session, url, self.limits, politeness=self.politeness, stop=self.stop).body

    def cancel(self) -> None:
        """End every request and every wait under way; safe from any thread."""
        self.stop.set()
        self.session.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.session.close()
