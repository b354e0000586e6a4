"""HTTP that cannot be led astray, overfed or held for ever.

`GuardedSession` reaches public addresses only: a name is resolved once, every address it has is
judged, and the socket connects to a judged address (so a name that resolves differently a moment
later changes nothing). That holds for every redirect, since every hop makes its own connection.
`get` adds caps in bytes and seconds and a retry; whatever fails is a `Rejected` with a reason.
"""

from __future__ import annotations

import io
import random
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from typing import IO, Any, Protocol
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.util.ssl_ import create_urllib3_context

from pipeline.core.errors import Rejected
from pipeline.http.guard import Dialler, TlsSocket, lift, pools, until

CHUNK = 64 * 1024
REDIRECTS = frozenset({301, 302, 303, 307, 308})
# What a second try may cure. A refusal (403, 404, 410, robots) is never asked again.
RETRIED = frozenset({"connection", "http-429", "http-500", "http-502", "http-503", "http-504"})


class _Adapter(HTTPAdapter):
    def __init__(self, dialler: Dialler, ca_file: str, pool: int) -> None:
        self.dialler = dialler
        self.context = create_urllib3_context()
        self.context.sslsocket_class = TlsSocket
        self._ca_file: str | None = ca_file  # None once it is read
        self._lock = threading.Lock()
        super().__init__(pool_connections=4 * pool, pool_maxsize=pool + 2, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self.context, **kwargs)
        self.poolmanager.pool_classes_by_scheme = pools(self.dialler)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> urllib3.ProxyManager:
        manager = super().proxy_manager_for(proxy, ssl_context=self.context, **kwargs)
        manager.pool_classes_by_scheme = pools(self.dialler)
        return manager

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        # The authorities are in the context, read once (40 ms) and not for every connection.
        conn.cert_reqs = "CERT_REQUIRED"
        if url.lower().startswith("https"):
            with self._lock:
                if self._ca_file is not None:
                    self.context.load_verify_locations(self._ca_file)
                    self._ca_file = None


class GuardedSession(requests.Session):
    """A `requests.Session` that reaches public addresses over http and https and no others.

    `allow_hosts` names `host:port` of a private network that may be reached all the same.
    A proxy is used only when one is given here; what it then connects to is out of our sight, so
    a name that resolves to a private address here is refused before the proxy is asked.
    Requests raise Rejected for what is refused; `cut` ends every request under way.
    """

    def __init__(
        self,
        user_agent: str,
        allow_hosts: Collection[str] = (),
        *,
        proxy: str | None = None,
        ca_file: str | None = None,
        pool: int = 64,
    ) -> None:
        super().__init__()
        self.trust_env = False  # no proxy, no .netrc password from the environment
        self.max_redirects = 5
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # nobody knows us again
        self.headers["User-Agent"] = user_agent
        proxy_host = urlsplit(proxy).netloc.rpartition("@")[2] if proxy else ""
        self.dialler = Dialler([*allow_hosts, *([proxy_host] if proxy_host else [])])
        if proxy:
            self.proxies = {"http": proxy, "https": proxy}
        self.adapters.clear()  # and with it every scheme but these two
        adapter = _Adapter(self.dialler, ca_file or DEFAULT_CA_BUNDLE_PATH, pool)
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send one request, and its redirects, each hop judged."""
        if self.proxies and request.url:
            self._judge_before_proxy(request.url)
        return super().send(request, **kwargs)

    def _judge_before_proxy(self, url: str) -> None:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            self.dialler.judged(parts.hostname or "", port)
        except Rejected as refusal:
            if refusal.reason != "dns":  # the proxy may know names that we do not
                raise

    def cut(self) -> None:
        """End every request under way and refuse new ones; safe from any thread."""
        self.dialler.cut()


class Politeness(Protocol):
    """What a polite visitor asks before and after every request."""

    def turn(self, url: str) -> AbstractContextManager[None]:
        """Wait for this host's turn and hold it; raise Rejected where we are not welcome."""

    def check_response(self, url: str, status: int, headers: Mapping[str, str]) -> None:
        """Raise Rejected where a response says that it is not for us."""


class NoPoliteness:
    """For hosts that are ours, or asked for a single file."""

    def turn(self, url: str) -> AbstractContextManager[None]:
        """Go ahead."""
        return nullcontext()

    def check_response(self, url: str, status: int, headers: Mapping[str, str]) -> None:
        """Take it."""


@dataclass(frozen=True)
class Limits:
    """How much of anything one URL may cost."""

    max_bytes: int = 20_000_000
    timeout_s: float = 30.0  # of one try, from the name's resolution to the last byte
    connect_s: float = 10.0
    redirects: int = 5
    tries: int = 3
    backoff_s: float = 0.5  # before the second try; doubled before every further one
    max_wait_s: float = 60.0  # between tries, all together; more asked by Retry-After: no try


@dataclass(frozen=True)
class Fetched:
    """A response with status 200, read to its end. `body` is empty where `into` was given."""

    url: str  # the last hop's
    status: int
    headers: Mapping[str, str]
    size: int
    body: bytes = field(default=b"", repr=False)

    @property
    def content_type(self) -> str | None:
        """The media type without its parameters, in lower case."""
        return (self.headers.get("Content-Type") or "").partition(";")[0].strip().lower() or None


class HttpRejected(Rejected):
    """A refusal that came with an answer: its status, type and last URL, for the ledger."""

    def __init__(self, reason: str, detail: str, url: str, response: requests.Response) -> None:
        super().__init__(reason, detail)
        self.url = url
        self.status = response.status_code
        content_type = response.headers.get("Content-Type") or ""
        self.content_type = content_type.partition(";")[0].strip().lower() or None
        self.retry_after_s = retry_after_s(response.headers.get("Retry-After"))


def get(
    session: GuardedSession,
    url: str,
    limits: Limits = Limits(),
    *,
    headers: Mapping[str, str] | None = None,
    into: IO[bytes] | None = None,
    politeness: Politeness | None = None,
    stop: threading.Event | None = None,
    on_retry: Callable[[Rejected, float], None] | None = None,
) -> Fetched:
    """Fetch `url` whole, within `limits`, following redirects; raise Rejected with a reason.

    `into` receives the bytes (rewound before every try) instead of `Fetched.body`. What may pass
    (429, 500, 502 to 504, a broken connection) is tried again after a back-off that doubles, up to
    half of it by chance, or after what Retry-After asks; `on_retry(why, wait_s)` hears of it. A
    refusal is never retried, nor is a timeout, which has already cost the whole of `timeout_s`.
    """
    waited = 0.0
    for attempt in range(limits.tries):
        sink = io.BytesIO() if into is None else into
        sink.seek(0)
        sink.truncate()
        try:
            return _get_once(
                session, url, limits, headers, sink, politeness=politeness or NoPoliteness()
            )
        except Rejected as refusal:
            wait = limits.backoff_s * 2**attempt * random.uniform(0.5, 1.0)
            asked = refusal.retry_after_s if isinstance(refusal, HttpRejected) else None
            wait = max(wait, asked or 0.0)
            waited += wait
            is_last = attempt + 1 == limits.tries
            if refusal.reason not in RETRIED or is_last or waited > limits.max_wait_s:
                raise
            if on_retry:
                on_retry(refusal, wait)
        if (stop or threading.Event()).wait(wait):
            raise Rejected("stopped")
    raise AssertionError("a Limits has at least one try")


def _get_once(
    session: GuardedSession,
    url: str,
    limits: Limits,
    headers: Mapping[str, str] | None,
    sink: IO[bytes],
    *,
    politeness: Politeness,
) -> Fetched:
    left_s = limits.timeout_s  # of all hops together; waiting for a host's turn is not counted
    for _ in range(limits.redirects + 1):
        with (
            politeness.turn(url),
            _timed() as spent,
            open_response(
                session, url, left_s, connect_s=limits.connect_s, headers=headers
            ) as response,
        ):
            if response.status_code in REDIRECTS and "Location" in response.headers:
                url = urljoin(url, _location(response))
                left_s -= spent()
                continue
            politeness.check_response(url, response.status_code, response.headers)
            if response.status_code != 200:
                reason = f"http-{response.status_code}"
                raise HttpRejected(reason, response.reason or "", url, response)
            size = _read(response, url, limits.max_bytes, sink)
            body = sink.getvalue() if isinstance(sink, io.BytesIO) else b""
            return Fetched(url, response.status_code, response.headers, size, body)
    raise Rejected("too-many-redirects", f"more than {limits.redirects}")


@contextmanager
def open_response(
    session: GuardedSession,
    url: str,
    timeout_s: float,
    *,
    connect_s: float = 10.0,
    headers: Mapping[str, str] | None = None,
    silence_only: bool = False,
) -> Iterator[requests.Response]:
    """Open one hop for streaming (`response.raw.read1`); every failure inside is a Rejected.

    The whole block ends within `timeout_s`; with `silence_only` that bounds the wait for headers
    and then each wait for bytes, not their sum, for a download whose size has no bound worth
    naming. Redirects are the caller's: `response.status_code in REDIRECTS`.
    """
    timeout_s = max(timeout_s, 0.001)
    timeout = (min(connect_s, timeout_s), timeout_s)
    with (
        until(time.monotonic() + timeout_s),
        _translated(session),
        session.send(
            _prepared(session, url, headers), stream=True, timeout=timeout, allow_redirects=False
        ) as response,
    ):
        if silence_only:
            lift()
        yield response


def _prepared(
    session: GuardedSession, url: str, headers: Mapping[str, str] | None
) -> requests.PreparedRequest:
    """Prepare a GET without what Session.request merges in each time (cookies, hooks, auth)."""
    request = requests.PreparedRequest()
    request.prepare("GET", url, headers={**session.headers, **(headers or {})})
    return request


@contextmanager
def _timed() -> Iterator[Callable[[], float]]:
    started = time.monotonic()
    yield lambda: time.monotonic() - started


def _location(response: requests.Response) -> str:
    # Headers arrive as Latin-1; what servers mean is UTF-8.
    return response.headers["Location"].encode("latin-1").decode("utf-8", "replace").strip()


def _read(response: requests.Response, url: str, max_bytes: int, sink: IO[bytes]) -> int:
    declared = response.headers.get("Content-Length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise HttpRejected("too-large", f"{declared} bytes declared", url, response)
    size = 0
    # read1 returns what has come; iter_content would wait for a full chunk.
    while chunk := response.raw.read1(CHUNK, decode_content=True):
        size += len(chunk)
        if size > max_bytes:
            raise HttpRejected("too-large", f"over {max_bytes} bytes", url, response)
        sink.write(chunk)
    return size


@contextmanager
def _translated(session: GuardedSession) -> Iterator[None]:
    """Turn what requests, urllib3 and sockets raise into Rejected; a file's OSError passes."""
    try:
        yield
    except Rejected as refusal:
        if session.dialler.is_closed and not isinstance(refusal, HttpRejected):
            raise Rejected("stopped") from refusal
        raise
    except (requests.RequestException, urllib3.exceptions.HTTPError, TimeoutError) as error:
        if session.dialler.is_closed:
            raise Rejected("stopped") from error
        raise Rejected(_reason(error), _innermost(error)) from error
    except (UnicodeError, ValueError) as error:  # a URL that no parser takes
        raise Rejected("invalid-url", str(error)) from error


def _reason(error: Exception) -> str:
    for kinds, reason in _REASONS:
        if any(isinstance(cause, kinds) for cause in _causes(error)):
            return reason
    return "connection"


_REASONS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((requests.exceptions.InvalidSchema, requests.exceptions.MissingSchema), "scheme"),
    ((requests.exceptions.InvalidURL, urllib3.exceptions.LocationValueError), "invalid-url"),
    ((requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError), "timeout"),
    ((urllib3.exceptions.DecodeError,), "encoding"),
    ((requests.exceptions.SSLError, urllib3.exceptions.SSLError, ssl.SSLError), "tls"),
)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk from an exception to what caused it, through arguments too (urllib3 nests there)."""
    yield error
    inner = [arg for arg in error.args if isinstance(arg, BaseException)]
    inner += [cause for cause in (error.__cause__, getattr(error, "reason", None)) if cause]
    for cause in inner:
        if isinstance(cause, BaseException) and cause is not error:
            yield from _causes(cause)


def _innermost(error: BaseException) -> str:
    *_, last = _causes(error)
    return f"{type(last).__name__}: {last}"[:200]


def retry_after_s(value: str | None) -> float | None:
    """Read a Retry-After header: seconds, or an HTTP date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
