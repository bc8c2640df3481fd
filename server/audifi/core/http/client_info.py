"""The client of a request: its address, network and User-Agent."""

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from starlette.requests import HTTPConnection

USER_AGENT_MAX_LENGTH = 256


@dataclass(frozen=True, kw_only=True)
class ClientInfo:
    """The client, as rate limits and the audit log see it."""

    ip: IPv4Address | IPv6Address | None
    """None if the server doesn't listen on IP."""
    user_agent: str | None

    @property
    def network(self) -> str:
        """The unit of rate limits: an IPv4 address, or the /64 in which an IPv6 host can choose its address."""
        return "" if self.ip is None else shortened(self.ip, ipv4_bits=32)

    @property
    def site(self) -> str | None:
        """The /48 of an IPv6 client, which may contain 65,536 networks (RFC 6177, 2); None for IPv4."""
        return shortened(self.ip, ipv6_bits=48) if isinstance(self.ip, IPv6Address) else None


async def client_info(connection: HTTPConnection) -> ClientInfo:
    """Return the client of a request; behind Fly's proxy, from its headers (`TrustedProxies`)."""
    user_agent = "".join(filter(str.isprintable, connection.headers.get("user-agent", "")))[:USER_AGENT_MAX_LENGTH]
    return ClientInfo(ip=_ip_of(connection.client.host if connection.client else ""), user_agent=user_agent or None)


async def client_key(connection: HTTPConnection) -> str:
    """Return the network of the client, for `rate_limited`."""
    return network_of(connection.client.host if connection.client else "")


@lru_cache(4096)
def network_of(host: str) -> str:
    """Return `ClientInfo.network` for the host of an ASGI scope's `client`."""
    return ClientInfo(ip=_ip_of(host), user_agent=None).network


def _ip_of(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def shortened(ip: IPv4Address | IPv6Address, *, ipv4_bits: int = 24, ipv6_bits: int = 64) -> str:
    """Return the address's network, which shows the approximate location but not the person."""
    return str(ip_network((ip, ipv4_bits if isinstance(ip, IPv4Address) else ipv6_bits), strict=False))
