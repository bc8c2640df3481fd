"""The client's address and scheme, from Fly's proxy.

https://fly.io/docs/networking/request-headers/. Fly overwrites Fly-Client-IP. It appends to a client's own
X-Forwarded-For, and puts the app's public address last, so neither end of that list is the client.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.types import Scope


class TrustedProxies:
    """The networks whose forwarding headers are believed."""

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network]) -> None:
        self._networks = networks
        self._trusts = lru_cache(4096)(self._contains)

    def apply(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        """Write the client's address and scheme into the scope if the peer is trusted."""
        if not (scope["client"] and self._trusts(scope["client"][0])):
            return
        if client := parse_address(headers.get(b"fly-client-ip", b"").decode("latin-1")):
            scope["client"] = (str(client), 0)
        scheme = headers.get(b"fly-forwarded-proto", headers.get(b"x-forwarded-proto"))
        if scheme in {b"http", b"https"}:
            is_secure = scheme == b"https"
            scope["scheme"] = ("wss" if is_secure else "ws") if scope["type"] == "websocket" else scheme.decode()

    def _contains(self, peer: str) -> bool:
        address = parse_address(peer)
        return address is not None and any(address in network for network in self._networks)


@lru_cache(4096)
def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Parse an address, and unwrap IPv4-mapped IPv6; None if it is invalid or has a zone (RFC 4007, 11)."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return None if address.scope_id else address.ipv4_mapped or address
    return address
