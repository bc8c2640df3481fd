import asyncio
import struct
from collections.abc import Iterator

import asyncpg
import pytest

from dev.postgres import Postgres
from tests.support import api, databases, waiting
from tools.bench import relay
from tools.bench.relay import Connection

START_UP = struct.pack("!ii", 13, 196608) + b"user\x00"
SYNC = b"S" + struct.pack("!i", 4)


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", 4 + len(body)) + body


def started() -> Connection:
    connection = Connection()
    connection.on_request(struct.pack("!ii", 8, 80877103))  # for TLS
    connection.on_answer()
    connection.on_request(START_UP)
    connection.on_answer()
    connection.round_trips = 0
    return connection


def test_execute_and_simple_query_are_statements() -> None:
    connection = started()

    connection.on_request(message(b"Q", b"SELECT 1\x00") + message(b"P", b"Q") + message(b"E", b"E" * 5) + SYNC)

    assert connection.statements == 2


def test_message_in_pieces_is_counted_once() -> None:
    connection = started()

    for byte in message(b"Q", b"SELECT 'E'\x00"):
        connection.on_request(bytes([byte]))

    assert connection.statements == 1


def test_answer_in_pieces_is_one_round_trip() -> None:
    connection = started()

    connection.on_request(message(b"P", b""))
    connection.on_request(message(b"E", b"") + SYNC)
    connection.on_answer()
    connection.on_answer()

    assert connection.round_trips == 1


@pytest.fixture
def server() -> Iterator[Postgres]:
    with databases.own_server(api.free_port()) as server:
        yield server


def test_relay_counts_requests_to_postgresql(server: Postgres) -> None:
    async def run(port: int) -> None:
        connection = await asyncpg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres", ssl=False)
        async with connection.transaction():
            for _ in range(3):
                await connection.fetchval("SELECT $1::int", 1)
        await connection.close()

    with relay.running(server.port) as counter:
        asyncio.run(run(counter.port))
        counts = counter.counts()

    # BEGIN, three reads, COMMIT. A round trip more opens the connection, another prepares the read.
    assert counts.statements == 5
    assert counts.round_trips == 7


def test_relay_closes_its_connections_at_the_end(server: Postgres) -> None:
    with relay.running(server.port) as counter:
        url = f"postgresql://postgres@127.0.0.1:{counter.port}/postgres"
        loop = asyncio.new_event_loop()
        connection = loop.run_until_complete(asyncpg.connect(url, ssl=False))
        pid = connection.get_server_pid()

    count = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1"
    waiting.wait_until(lambda: databases.fetch_value(server.url(), count, pid) == 0)
    connection.terminate()
    loop.run_until_complete(asyncio.sleep(0))  # the transport is closed in the loop's next turn, and warns if it isn't
    loop.close()
