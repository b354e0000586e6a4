"""A guarded session with limits and politeness from the `crawl` section of params.yaml."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from pipeline import __version__
from pipeline.core.params import Crawl
from pipeline.http.client import GuardedSession, Limits, get
from pipeline.http.robots import HostPoliteness


class PoliteSession:
    """Download files within the limits of the `crawl` section of params.yaml.

    Setting the event `stop` cuts any wait short.
    """

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
        # A search API is meant to be called by programs, so robots.txt does not apply to it.
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
        """Return the body of a URL. Raises Rejected with a reason if the download fails."""
        return get(self.session, url, self.limits, politeness=self.politeness, stop=self.stop).body

    def cancel(self) -> None:
        """End all requests and waits; any thread may call this."""
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
