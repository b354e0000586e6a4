"""Which network addresses are of the public internet, in whatever form they come."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from pipeline.core.errors import Rejected

# Public by the registries, but a machine's own keeper answers there (Azure's WireServer).
METADATA = frozenset({ipaddress.ip_address("168.63.129.16")})
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # all of IPv6 that is routed between networks

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(address: str) -> bool:
    """Say whether an IP address is one of the public internet, whatever form hides it.

    IPv4 inside IPv6 (mapped, compatible, 6to4, Teredo, NAT64) is judged as the IPv4 address.
    """
    ip: Address = ipaddress.ip_address(address.partition("%")[0])
    return all(
        form.is_global
        and not form.is_multicast
        and form not in METADATA
        and (form.version == 4 or form in _GLOBAL_UNICAST)
        for form in _forms(ip)
    )


def _forms(ip: Address) -> list[Address]:
    """Return the IPv4 addresses inside an IPv6 one, or the address itself where there is none."""
    if isinstance(ip, ipaddress.IPv4Address):
        return [ip]
    last32 = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if ip.ipv4_mapped:
        return [ip.ipv4_mapped]
    if ip.sixtofour:
        return [ip.sixtofour]
    if ip.teredo:
        return list(ip.teredo)
    if ip in _NAT64 or int(ip) >> 32 == 0:
        return [last32]
    return [ip]


FOREVER = float("inf")  # a moment that never comes

# The moment by which the request that this thread is in must have ended. Read by the sockets:
# a timeout of requests is one of silence, and a byte a second is never silent.
_deadline = threading.local()


@contextmanager
def until(moment: float) -> Iterator[None]:
    """Bound every connection that this thread uses inside by a moment of time.monotonic()."""
    before = getattr(_deadline, "at", FOREVER)
    _deadline.at = moment
    try:
        yield
    finally:
        _deadline.at = before


def lift() -> None:
    """Lift this thread's bound for what is left of the block."""
    _deadline.at = FOREVER


def _remaining() -> float:
    left: float = getattr(_deadline, "at", FOREVER) - time.monotonic()
    if left <= 0:
        raise TimeoutError("deadline passed")
    return left


class _DeadlineMixin:
    """A socket whose reads end at this thread's deadline, or after its own timeout of silence."""

    _silence_s: float | None = None

    def settimeout(self, value: float | None) -> None:
        self._silence_s = value
        super().settimeout(value)  # type: ignore[misc]

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        wait_s = min(_remaining(), FOREVER if self._silence_s is None else self._silence_s)
        super().settimeout(None if wait_s == FOREVER else wait_s)  # type: ignore[misc]
        return super().recv_into(*args, **kwargs)  # type: ignore[misc]


class _Socket(_DeadlineMixin, socket.socket):
    pass


class TlsSocket(_DeadlineMixin, ssl.SSLSocket):
    """What an SSL context must make of sockets (its `sslsocket_class`), for deadlines to hold."""


class Dialler:
    """Opens every connection of a session, and can cut them all."""

    def __init__(self, allow_hosts: Collection[str]) -> None:
        self.allow_hosts = frozenset(host.lower() for host in allow_hosts)
        self.is_closed = False
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()

    def dial(self, host: str, port: int, timeout: Any) -> socket.socket:
        """Resolve, judge, connect; raise Rejected (dns, private-address, timeout, connection)."""
        error: OSError = OSError("no address")
        for family, address in self.judged(host, port):
            sock = _Socket(family, socket.SOCK_STREAM)
            try:
                self.adopt(sock)
                wait_s = min(timeout if isinstance(timeout, int | float) else FOREVER, _remaining())
                sock.settimeout(None if wait_s == FOREVER else wait_s)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.connect(address)
                # Belt and braces: where the connection really ends is judged as well.
                if not self._is_allowed(host, port, sock.getpeername()[0]):
                    raise Rejected("private-address", f"{host} led to {sock.getpeername()[0]}")
                return sock
            except OSError as problem:
                sock.close()
                error = problem
            except BaseException:
                sock.close()
                raise
        reason = "timeout" if isinstance(error, TimeoutError) else "connection"
        raise Rejected(reason, f"{host}:{port}: {error.strerror or error}")

    def judged(self, host: str, port: int) -> Sequence[tuple[socket.AddressFamily, Any]]:
        """Return the addresses of a host that may be reached; raise Rejected where none may."""
        if self.is_closed:
            raise Rejected("stopped")
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Rejected("dns", f"{host}: {getattr(error, 'strerror', None) or error}") from error
        allowed = [
            (family, address)
            for family, _, _, _, address in found
            if self._is_allowed(host, port, str(address[0]))
        ]
        if not allowed:
            raise Rejected("private-address", f"{host} is {found[0][4][0]}")
        return allowed

    def _is_allowed(self, host: str, port: int, address: str) -> bool:
        return f"{host}:{port}".lower() in self.allow_hosts or is_public(address)

    def adopt(self, sock: socket.socket) -> None:
        """Remember a socket, to be cut with the others; raise Rejected when they have been."""
        with self._lock:
            self._open.add(sock)
            if self.is_closed:
                raise Rejected("stopped")

    def cut(self) -> None:
        """Shut every connection, so that whoever waits for one goes on at once."""
        with self._lock:
            self.is_closed = True
            for sock in list(self._open):
                # The plain socket's: TLS's own would wait to say goodbye.
                with suppress(OSError):  # it was closed already
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)


def pools(dialler: Dialler) -> dict[str, type[HTTPConnectionPool]]:
    """Return connection pool classes whose connections are opened by `dialler`."""

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return dialler.dial(self._dns_host, self.port or 80, self.timeout)

    class Tls(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return dialler.dial(self._dns_host, self.port or 443, self.timeout)

        def connect(self) -> None:
            super().connect()
            if isinstance(self.sock, socket.socket):
                dialler.adopt(self.sock)  # it took over the plain one's connection

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = Tls

    return {"http": PlainPool, "https": TlsPool}
