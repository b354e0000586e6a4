"""HTTP requests with limits on addresses, bytes, time and retries.

`GuardedSession` connects to public addresses only (see `pipeline.http.guard`). This holds for
redirects, too, because each hop makes its own connection. `get` adds retries, and limits on bytes
and seconds. Every failure is a `Rejected` with a reason.
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
from pipeline.http.guard import Dialler, TlsSocket, deadline, lift_deadline, pools

CHUNK = 64 * 1024
REDIRECTS = frozenset({301, 302, 303, 307, 308})
# reasons that may be temporary; a refusal (403, 404, 410, robots) is final
RETRIED = frozenset({"connection", "http-429", "http-500", "http-502", "http-503", "http-504"})


class _Adapter(HTTPAdapter):
    def __init__(self, dialler: Dialler, ca_file: str, pool: int) -> None:
        self.dialler = dialler
        self.context = create_urllib3_context()
        self.context.sslsocket_class = TlsSocket
        self._ca_file: str | None = ca_file  # None after it has been read
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
        # Reading the certificate authorities takes 40 ms, so it is not done for each connection.
        conn.cert_reqs = "CERT_REQUIRED"
        if url.lower().startswith("https"):
            with self._lock:
                if self._ca_file is not None:
                    self.context.load_verify_locations(self._ca_file)
                    self._ca_file = None


class GuardedSession(requests.Session):
    """A `requests.Session` that connects to public addresses only, by http and https.

    `allow_hosts` lists the hosts of private networks that may be reached, each as "host:port".
    Proxies from the environment are ignored. With a `proxy`, the session cannot check the address
    that the proxy connects to, so it refuses hosts that this machine resolves to private addresses.
    A refused request raises Rejected.
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
        self.trust_env = False  # no proxy from the environment, no password from .netrc
        self.max_redirects = 5
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # accept no cookies
        self.headers["User-Agent"] = user_agent
        proxy_host = urlsplit(proxy).netloc.rpartition("@")[2] if proxy else ""
        self.dialler = Dialler([*allow_hosts, *([proxy_host] if proxy_host else [])])
        if proxy:
            self.proxies = {"http": proxy, "https": proxy}
        self.adapters.clear()  # only the two schemes below remain
        adapter = _Adapter(self.dialler, ca_file or DEFAULT_CA_BUNDLE_PATH, pool)
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send a request, and follow its redirects if asked; each hop is checked.

        Raises Rejected for an address that is not allowed.
        """
        if self.proxies and request.url:
            self._check_before_proxy(request.url)
        return super().send(request, **kwargs)

    def _check_before_proxy(self, url: str) -> None:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            self.dialler.allowed_addresses(parts.hostname or "", port)
        except Rejected as refusal:
            if refusal.reason != "dns":  # the proxy may resolve names that this machine cannot
                raise

    def cut(self) -> None:
        """End all current requests and refuse new ones; any thread may call this."""
        self.dialler.cut()


class Politeness(Protocol):
    """Rules that `get` follows before and after each request."""

    def turn(self, url: str) -> AbstractContextManager[None]:
        """Wait until the host may get another request; count one as running in the `with` block.

        Raises Rejected if the host must not be asked.
        """

    def check_response(self, url: str, status: int, headers: Mapping[str, str]) -> None:
        """Raise Rejected if the headers of a response forbid the use of its content."""


class NoPoliteness:
    """Apply no politeness rules; meant for the user's own hosts and for single files."""

    def turn(self, url: str) -> AbstractContextManager[None]:
        """Return at once."""
        return nullcontext()

    def check_response(self, url: str, status: int, headers: Mapping[str, str]) -> None:
        """Accept any response."""


@dataclass(frozen=True)
class Limits:
    """Limits for one URL."""

    max_bytes: int = 20_000_000  # of the decoded body
    timeout_s: float = 30.0  # for one try, from name resolution to the last byte
    connect_s: float = 10.0  # for connecting
    redirects: int = 5
    tries: int = 3
    backoff_s: float = 0.5  # before the second try; doubles before each further one
    max_wait_s: float = 60.0  # sum of the waits between tries; a longer wait ends the tries


@dataclass(frozen=True)
class Fetched:
    """A complete response with status 200. `body` is empty if `get` was called with `into`."""

    url: str  # of the last hop
    status: int
    headers: Mapping[str, str]
    size: int
    body: bytes = field(default=b"", repr=False)

    @property
    def content_type(self) -> str | None:
        """The media type without parameters, in lower case; None if it is missing."""
        return (self.headers.get("Content-Type") or "").partition(";")[0].strip().lower() or None


class HttpRejected(Rejected):
    """A rejection caused by a response, with that response's status, media type and URL."""

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
    """Return the response of `url`, within `limits` and after redirects.

    Raises Rejected with a reason if the request fails. `into` receives the bytes in place of
    `Fetched.body`; the file is rewound and truncated before each try.

    Failures that may be temporary (429, 500, 502 to 504, a broken connection) are retried. The wait
    doubles with each try, is shortened at random by up to half, and is never shorter than
    Retry-After demands.
    `on_retry(why, wait_s)` is called before each wait. A refusal is not retried, nor is a timeout,
    which has already taken `timeout_s`. If `stop` is set during a wait, the reason is "stopped".
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
            retry_after = refusal.retry_after_s if isinstance(refusal, HttpRejected) else None
            wait = max(wait, retry_after or 0.0)
            waited += wait
            is_last = attempt + 1 == limits.tries
            if refusal.reason not in RETRIED or is_last or waited > limits.max_wait_s:
                raise
            if on_retry:
                on_retry(refusal, wait)
        if (stop or threading.Event()).wait(wait):
            raise Rejected("stopped")
    raise AssertionError("Limits.tries is 0")


def _get_once(
    session: GuardedSession,
    url: str,
    limits: Limits,
    headers: Mapping[str, str] | None,
    sink: IO[bytes],
    *,
    politeness: Politeness,
) -> Fetched:
    left_s = limits.timeout_s  # for all hops together, not counting the wait for a host's slot
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
    """Yield the response of one hop, for streaming with `response.raw.read1`.

    Any failure in the block is raised as Rejected. The block ends within `timeout_s`. With
    `silence_only`, `timeout_s` bounds the wait for the headers and then each wait for data, but not
    their sum; this is for large downloads. A redirect has a `status_code` in REDIRECTS; the
    caller must follow it.
    """
    timeout_s = max(timeout_s, 0.001)
    timeout = (min(connect_s, timeout_s), timeout_s)
    with (
        deadline(time.monotonic() + timeout_s),
        _translated(session),
        session.send(
            _prepared(session, url, headers), stream=True, timeout=timeout, allow_redirects=False
        ) as response,
    ):
        if silence_only:
            lift_deadline()
        yield response


def _prepared(
    session: GuardedSession, url: str, headers: Mapping[str, str] | None
) -> requests.PreparedRequest:
    """Prepare a GET without the cookies, hooks and credentials that Session.request merges in."""
    request = requests.PreparedRequest()
    request.prepare("GET", url, headers={**session.headers, **(headers or {})})
    return request


@contextmanager
def _timed() -> Iterator[Callable[[], float]]:
    started = time.monotonic()
    yield lambda: time.monotonic() - started


def _location(response: requests.Response) -> str:
    # requests decodes headers as Latin-1, but servers send UTF-8
    return response.headers["Location"].encode("latin-1").decode("utf-8", "replace").strip()


def _read(response: requests.Response, url: str, max_bytes: int, sink: IO[bytes]) -> int:
    declared = response.headers.get("Content-Length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise HttpRejected("too-large", f"{declared} bytes declared", url, response)
    size = 0
    # read1 returns available data at once; iter_content would wait for a full chunk
    while chunk := response.raw.read1(CHUNK, decode_content=True):
        size += len(chunk)
        if size > max_bytes:
            raise HttpRejected("too-large", f"over {max_bytes} bytes", url, response)
        sink.write(chunk)
    return size


@contextmanager
def _translated(session: GuardedSession) -> Iterator[None]:
    """Raise errors from requests, urllib3 and sockets as Rejected; let OSErrors from files pass."""
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
    except (UnicodeError, ValueError) as error:  # the URL cannot be parsed
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
    """Yield an exception and its causes; urllib3 keeps some of them in `args`."""
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
    """Return the seconds that a Retry-After header asks to wait; None if it is unreadable.

    The header has seconds or an HTTP date (RFC 9110, 10.2.3).
    """
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
