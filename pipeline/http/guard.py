"""Guarded sockets: they connect to public addresses only, and end at a deadline.

`Dialler` opens every connection of a session. It resolves a host once, refuses private addresses,
and connects to one of the checked addresses. So a DNS answer that changes later has no effect.
`deadline` sets the time by which a thread's reads must end. `cut` shuts every open connection.
"""

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

# Registered as public, but Azure's WireServer uses it to answer the machines that Azure hosts.
METADATA = frozenset({ipaddress.ip_address("168.63.129.16")})
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # the part of IPv6 that is routed publicly

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_public(address: str) -> bool:
    """Return whether an IP address belongs to the public internet.

    An IPv6 address that contains an IPv4 address (mapped, compatible, 6to4, Teredo, NAT64) is
    judged by the IPv4 address.
    """
    ip: Address = ipaddress.ip_address(address.partition("%")[0])
    return all(
        form.is_global
        and not form.is_multicast
        and form not in METADATA
        and (form.version == 4 or form in _GLOBAL_UNICAST)
        for form in _unwrapped(ip)
    )


def _unwrapped(ip: Address) -> list[Address]:
    """Return the IPv4 addresses within an IPv6 address, or the address itself if it has none."""
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


NEVER = float("inf")  # on the clock of time.monotonic()

# The time by which this thread's current request must end. The sockets check it, because the
# timeout in the requests library bounds only each single wait for data: a server that sends one
# byte per second never exceeds it.
_deadline = threading.local()


@contextmanager
def deadline(moment: float) -> Iterator[None]:
    """Within the block, this thread's deadline is `moment`, a time of time.monotonic()."""
    before = getattr(_deadline, "at", NEVER)
    _deadline.at = moment
    try:
        yield
    finally:
        _deadline.at = before


def lift_deadline() -> None:
    """Remove this thread's deadline for the rest of the block."""
    _deadline.at = NEVER


def _remaining_s() -> float:
    """Return the seconds until this thread's deadline. Raises TimeoutError if it has passed."""
    left: float = getattr(_deadline, "at", NEVER) - time.monotonic()
    if left <= 0:
        raise TimeoutError("deadline passed")
    return left


class _DeadlineMixin:
    """A socket whose reads end at the deadline, or at its own timeout if that is earlier."""

    _timeout_s: float | None = None

    def settimeout(self, value: float | None) -> None:
        self._timeout_s = value
        super().settimeout(value)  # type: ignore[misc]

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        wait_s = min(_remaining_s(), NEVER if self._timeout_s is None else self._timeout_s)
        super().settimeout(None if wait_s == NEVER else wait_s)  # type: ignore[misc]
        return super().recv_into(*args, **kwargs)  # type: ignore[misc]


class _Socket(_DeadlineMixin, socket.socket):
    pass


class TlsSocket(_DeadlineMixin, ssl.SSLSocket):
    """A TLS socket that obeys deadlines; the `sslsocket_class` for an SSL context."""


class Dialler:
    """Opens the connections of a session, and can cut them all.

    `allow_hosts` lists the hosts of private networks that may be reached, each as "host:port".
    """

    def __init__(self, allow_hosts: Collection[str]) -> None:
        self.allow_hosts = frozenset(host.lower() for host in allow_hosts)
        self.is_closed = False
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()

    def dial(self, host: str, port: int, timeout: Any) -> socket.socket:
        """Return a socket that is connected to a checked address of a host.

        Raises Rejected: dns, private-address, timeout, connection or stopped.
        """
        error: OSError = OSError("no address")
        for family, address in self.allowed_addresses(host, port):
            sock = _Socket(family, socket.SOCK_STREAM)
            try:
                self.track(sock)
                limit_s = timeout if isinstance(timeout, int | float) else NEVER
                wait_s = min(limit_s, _remaining_s())
                sock.settimeout(None if wait_s == NEVER else wait_s)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.connect(address)
                # A second check, this time of the address that the connection really reached.
                if not self._is_allowed(host, port, sock.getpeername()[0]):
                    raise Rejected(
                        "private-address", f"{host} connected to {sock.getpeername()[0]}"
                    )
                return sock
            except OSError as problem:
                sock.close()
                error = problem
            except BaseException:
                sock.close()
                raise
        reason = "timeout" if isinstance(error, TimeoutError) else "connection"
        raise Rejected(reason, f"{host}:{port}: {error.strerror or error}")

    def allowed_addresses(self, host: str, port: int) -> Sequence[tuple[socket.AddressFamily, Any]]:
        """Return those addresses of a host that may be reached, each with its address family.

        Raises Rejected: dns, stopped, or private-address if none may be reached.
        """
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

    def track(self, sock: socket.socket) -> None:
        """Add a socket to those that `cut` shuts. Raises Rejected (stopped) if `cut` has run."""
        with self._lock:
            self._open.add(sock)
            if self.is_closed:
                raise Rejected("stopped")

    def cut(self) -> None:
        """Shut every connection, so that threads waiting for data continue at once."""
        with self._lock:
            self.is_closed = True
            for sock in list(self._open):
                # the plain socket's shutdown: SSLSocket's would wait for the other side
                with suppress(OSError):  # the socket may be closed already
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)


def pools(dialler: Dialler) -> dict[str, type[HTTPConnectionPool]]:
    """Return urllib3's connection pool classes by scheme; `dialler` opens their connections."""

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return dialler.dial(self._dns_host, self.port or 80, self.timeout)

    class Tls(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return dialler.dial(self._dns_host, self.port or 443, self.timeout)

        def connect(self) -> None:
            super().connect()
            if isinstance(self.sock, socket.socket):
                dialler.track(self.sock)  # it replaces the plain socket of `dial`

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = Tls

    return {"http": PlainPool, "https": TlsPool}
