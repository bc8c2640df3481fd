"""Who the client is, told by Fly's proxy.

https://fly.io/docs/networking/request-headers/. Fly overwrites Fly-Client-IP, but appends to a client's own
X-Forwarded-For, and puts the app's public address last: neither end of that list is the client.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.types import ASGIApp, Receive, Scope, Send


class FlyProxyMiddleware:
    """Puts the client's address and scheme into the scope when the connection comes from a trusted proxy."""

    def __init__(self, app: ASGIApp, trusted: tuple[IPv4Network | IPv6Network, ...]) -> None:
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"} and self._is_trusted(scope):
            headers = dict(scope["headers"])
            if client := _address(headers.get(b"fly-client-ip", b"").decode("latin-1")):
                scope["client"] = (str(client), 0)
            scheme = headers.get(b"fly-forwarded-proto", headers.get(b"x-forwarded-proto"))
            if scheme in {b"http", b"https"}:
                secure = scheme == b"https"
                scope["scheme"] = ("wss" if secure else "ws") if scope["type"] == "websocket" else scheme.decode()
        await self._app(scope, receive, send)

    def _is_trusted(self, scope: Scope) -> bool:
        peer = _address(scope["client"][0]) if self._trusted and scope["client"] else None
        return peer is not None and any(peer in network for network in self._trusted)


@lru_cache(4096)
def _address(text: str) -> IPv4Address | IPv6Address | None:
    """None for what isn't one, or has a zone (RFC 4007, 11), which can be any text; IPv4 in IPv6 as IPv4."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return None if address.scope_id else address.ipv4_mapped or address
    return address
