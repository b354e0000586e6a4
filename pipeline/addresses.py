"""Which network addresses are of the public internet, in whatever form they come."""

from __future__ import annotations

import ipaddress

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
