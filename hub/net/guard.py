"""Keeps the hub from being talked into reaching private systems (server-side request forgery).

The verdict falls on the very address that a socket is about to connect to: after name resolution, for each address
tried, for each redirect. So a name that resolves differently the second time gains nothing. A pooled connection was
judged by the policy of the pool that it is in, and every policy has a pool of its own (see `session`).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohappyeyeballs import AddrInfoType
from yarl import URL

from core.errors import Forbidden, InvalidInput

Address = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

# The IANA special-purpose registries, written out: what `ipaddress` calls global has changed between Python releases.
_REFUSED_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, and the metadata service of every cloud
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
# IPv6 is the other way round: only global unicast is reachable, and of that not these.
_GLOBAL_V6 = IPv6Network("2000::/3")
_REFUSED_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarking
        "2001:db8::/32",
        "2002::/16",  # 6to4 carries any IPv4 address
        "3fff::/20",
    )
)
_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")


class AddressRefused(OSError):
    """Raised where the socket would be made. An OSError, so that the resolver's next address is tried."""

    def __init__(self, address: Address) -> None:
        self.address = address
        super().__init__(errno.EACCES, f"{address} is not a public address, and allow_networks does not name it")


class Guard:
    """One policy: public addresses, and the networks that an admin has named."""

    def __init__(self, allow_networks: Iterable[str | IPNetwork] = ()) -> None:
        """Raises InvalidInput for what is no network."""
        self.networks = frozenset(map(_network, allow_networks))

    def allows(self, address: Address) -> bool:
        """Whether a connection to `address` may be made."""
        address = _plain(address)
        inner = _embedded(address)
        if any(candidate in network for network in self.networks for candidate in {address, inner}):
            return True
        if isinstance(inner, IPv4Address):
            return not any(inner in network for network in _REFUSED_V4)
        return inner in _GLOBAL_V6 and not any(inner in network for network in _REFUSED_V6)

    def check(self, url: str, *, field: str = "") -> None:
        """Refuse early what can be seen to be wrong without asking a name server.

        Raises:
            InvalidInput: no absolute http(s) URL; `field` is what the error names.
            Forbidden: a literal address, or `localhost`, that this policy does not allow.
        """
        host = _parsed(url, field).host or ""
        about = f"{field}: " if field else ""
        if _names_loopback(host):
            if not self.allows(IPv4Address("127.0.0.1")) and not self.allows(IPv6Address("::1")):
                raise Forbidden(f"{about}{host} is this machine, and allow_networks does not name 127.0.0.0/8")
            return
        try:
            address = ip_address(host)
        except ValueError:
            return
        if not self.allows(address):
            raise Forbidden(f"{about}{AddressRefused(address).strerror}")

    def open_socket(self, target: AddrInfoType) -> socket.socket:
        """The connector's socket factory: called with each address just before it is connected to."""
        family, kind, protocol, _, where = target
        address = ip_address(where[0])
        if not self.allows(address):
            raise AddressRefused(address)
        return socket.socket(family, kind, protocol)


def check_url(url: str, allow_networks: Iterable[str | IPNetwork] = (), *, field: str = "") -> None:
    """`Guard.check` with a policy made for this one URL."""
    Guard(allow_networks).check(url, field=field)


def _network(value: str | IPNetwork) -> IPNetwork:
    if not isinstance(value, str):
        return value
    try:
        return ip_network(value, strict=False)
    except ValueError:
        raise InvalidInput(f"{value!r} is not a network, such as 10.0.0.0/8", field="allow_networks") from None


def _plain(address: Address) -> Address:
    """Without the zone of a link-local address, which no network contains."""
    return IPv6Address(int(address)) if isinstance(address, IPv6Address) else address


def _embedded(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for. NAT64 is unwrapped, not refused: on IPv6-only networks every public
    IPv4 host is reached through it."""
    if isinstance(address, IPv6Address) and (address in _MAPPED or address in _NAT64):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _names_loopback(host: str) -> bool:
    name = host.rstrip(".").lower()
    return name == "localhost" or name.endswith(".localhost")  # RFC 6761


def _parsed(url: str, field: str) -> URL:
    try:
        parsed = URL(url)
    except (ValueError, TypeError):
        raise InvalidInput("is not a URL", field=field) from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidInput("must be an absolute http or https URL", field=field)
    return parsed
