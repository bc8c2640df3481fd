"""The client's address and user agent."""

import asyncio
from ipaddress import ip_address
from typing import Any

import pytest
from starlette.requests import HTTPConnection

from audifi.core.http.client_info import ClientInfo, client_info, shortened


def client(peer: tuple[str, int] | None, user_agent: bytes = b"") -> ClientInfo:
    scope: dict[str, Any] = {"type": "http", "client": peer, "headers": [(b"user-agent", user_agent)]}
    return asyncio.run(client_info(HTTPConnection(scope)))


@pytest.mark.parametrize("peer", [None, ("", 0), ("not an address", 0)])
def test_clients_without_address_count_as_one(peer: tuple[str, int] | None) -> None:
    assert client(peer) == ClientInfo(ip=None, user_agent=None)
    assert client(peer).network == ""


def test_user_agent_is_bounded_and_printable() -> None:
    assert client(("10.0.0.1", 1), b"Studio\x1b[2J\x00/1").user_agent == "Studio[2J/1"
    assert client(("10.0.0.1", 1), b"a" * 1000).user_agent == "a" * 256


@pytest.mark.parametrize(
    ("ip", "counted", "shown"),
    [
        ("203.0.113.7", "203.0.113.7/32", "203.0.113.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", "2001:db8:1:2::/64"),
    ],
)
def test_address_counts_and_its_network_is_shown(ip: str, counted: str, shown: str) -> None:
    assert client((ip, 1)).network == counted
    assert shortened(ip_address(ip)) == shown
