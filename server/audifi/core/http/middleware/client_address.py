"""The client's address and scheme, from Fly's proxy; and from trusted servers that call for their users.

https://fly.io/docs/networking/request-headers/. Fly overwrites Fly-Client-IP. It appends to a client's own
X-Forwarded-For, and puts the app's public address last, so neither end of that list is the client.
"""

import hmac
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.types import Scope

from audifi.core.config.validators import TrustedCaller
from audifi.core.http import problems
from audifi.core.http.problems import FieldError, Problem

SECRET_HEADER = "AudiFi-Caller-Secret"  # noqa: S105 - its name
ADDRESS_HEADER = "AudiFi-Client-IP"
RAW_SECRET_HEADER, RAW_ADDRESS_HEADER = SECRET_HEADER.lower().encode(), ADDRESS_HEADER.lower().encode()


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


class CallerRegistry:
    """Trusted servers, by their secrets: each may send the address of the user for whom it calls.

    A frontend's own server calls for many users, who would otherwise share the limits of its address.
    """

    def __init__(self, callers: Sequence[TrustedCaller]) -> None:
        self._callers = [(caller.name, _digest(caller.secret.get_secret_value().encode())) for caller in callers]

    def apply(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Problem | None:
        """Write the caller's name and the address that it sends into the scope; return why the request must be refused.

        Without a secret, the address header is ignored as any unknown header. A wrong secret isn't: the users of
        a server that was forgotten in a rotation would share one limit, and nobody would see why.
        """
        secret = headers.get(RAW_SECRET_HEADER)
        if secret is None:
            return None
        presented = _digest(secret)
        # All are compared, each in constant time, so that the duration reveals nothing about them.
        names = [name for name, digest in self._callers if hmac.compare_digest(digest, presented)]
        if not names:
            return problems.caller_unknown()
        scope["state"]["caller"] = names[0]
        text = headers.get(RAW_ADDRESS_HEADER)
        if text is None:  # the server calls for itself
            return None
        address = parse_address(text.decode("latin-1"))
        if address is None:
            detail = "must be one IPv4 or IPv6 address"
            return problems.invalid([FieldError(code="ip_any_address", detail=detail, parameter=ADDRESS_HEADER)])
        scope["client"] = (str(address), 0)
        return None


def _digest(secret: bytes) -> bytes:
    return sha256(secret).digest()


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
