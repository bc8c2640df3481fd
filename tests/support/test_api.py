"""The servers of the tests: their ports, readiness, logs, and what a failure shows of them."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.api import MINIMAL, environment, free_port, listens, running, whole_lines


def test_self_connection_is_no_server() -> None:
    """A client connects to itself if the kernel gives it the requested port as its own."""
    port = free_port()

    assert not listens(port, source_port=port)


def test_listening_server_is_detected() -> None:
    port = free_port()
    assert not listens(port)
    with socket.create_server(("127.0.0.1", port)):
        assert listens(port)


def test_ports_are_distinct_and_not_ephemeral() -> None:
    ports = [free_port() for _ in range(50)]
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())

    assert len(set(ports)) == 50
    assert first <= 12_000 or not any(first <= port <= last for port in ports)


def test_incomplete_log_line_is_not_read(tmp_path: Path) -> None:
    """A reader may see part of a line that spans two pages of the file."""
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


def test_exception_in_the_block_shows_the_server(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as failure, running(tmp_path, **MINIMAL) as server:
        server.process.kill()
        server.process.wait()
        raise ZeroDivisionError

    [note] = failure.value.__notes__
    assert note.startswith(f"server at {server.url}: process {server.process.pid} has ended with -9\n")
    assert f" listens on {server.url}" in note


FAILING = """
import pytest
from tests.support import api

@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with api.running(tmp_path_factory.mktemp("server"), **api.MINIMAL) as server:
        yield server

def test_it(server):
    print(f"{server.url}: process {server.process.pid}")
    raise AssertionError
"""


@pytest.mark.slow
def test_failed_test_shows_its_servers(tmp_path: Path) -> None:
    (tmp_path / "test_fails.py").write_text(FAILING)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-c",
            os.devnull,
            "--rootdir",
            tmp_path,
            "-p",
            "tests.support.fixtures",
            tmp_path,
        ],
        # As a worker, which starts no database.
        env=environment(PYTEST_XDIST_WORKER="gw0", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1"),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    url, process = re.findall(r"^(http://\S+): (process \d+)$", done.stdout, re.MULTILINE)[0]
    _, _, shown = done.stdout.partition(f"- server at {url} -")
    assert f"\n{process} runs\n" in shown, done.stdout
    assert f" listens on {url}" in shown
