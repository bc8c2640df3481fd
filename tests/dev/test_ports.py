"""The ports that servers of the tests get, and how it is told that one of them listens."""

import socket
from functools import partial
from pathlib import Path

import pytest

from tests.support.api import free_port, listens


def test_a_client_that_has_connected_with_itself_is_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """It happens where the kernel gives a client the very port that it asks for."""
    port = free_port()
    from_there = partial(socket.create_connection, source_address=("127.0.0.1", port))
    monkeypatch.setattr(socket, "create_connection", from_there)

    assert not listens(port)


def test_who_listens_is_noticed() -> None:
    port = free_port()
    assert not listens(port)
    with socket.create_server(("127.0.0.1", port)):
        assert listens(port)


def test_each_gets_another_port_and_none_that_clients_are_given() -> None:
    ports = [free_port() for _ in range(50)]
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())

    assert len(set(ports)) == 50
    assert first <= 12_000 or not any(first <= port <= last for port in ports)
