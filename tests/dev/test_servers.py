"""The servers of the tests: the ports that they get, how it is told that one listens, and what is read of its log."""

import socket
from functools import partial
from pathlib import Path

import pytest

from tests.support.api import free_port, listens, whole_lines


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


def test_of_a_line_that_is_being_written_nothing_is_read(tmp_path: Path) -> None:
    """The kernel shows a part of it, where the line goes from one page of the file to the next."""
    log = tmp_path / "log"
    parts = '{"message": "says “so”"}\n{"message": "says “'.encode(), 'no”"}\n'.encode()
    with log.open("wb") as file:
        file.write(parts[0][:-1])  # within a character
        file.flush()
        early = whole_lines(log)
        file.write(parts[0][-1:] + parts[1])
        file.flush()

    assert early == '{"message": "says “so”"}\n'
    assert whole_lines(log) == early + '{"message": "says “no”"}\n'
