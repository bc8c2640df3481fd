import asyncio
import struct
from collections.abc import Iterator

import asyncpg
import pytest

from dev.postgres import Postgres
from tests.support import api, databases
from tools.bench import relay
from tools.bench.relay import Connection

START_UP = struct.pack("!ii", 13, 196608) + b"user\x00"
SYNC = b"S" + struct.pack("!i", 4)


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", 4 + len(body)) + body


def started() -> Connection:
    connection = Connection()
    connection.asked(struct.pack("!ii", 8, 80877103))  # for TLS
    connection.answered()
    connection.asked(START_UP)
    connection.answered()
    connection.round_trips = 0
    return connection


def test_executes_and_simple_queries_are_statements() -> None:
    connection = started()

    connection.asked(message(b"Q", b"SELECT 1\x00") + message(b"P", b"Q") + message(b"E", b"E" * 5) + SYNC)

    assert connection.statements == 2


def test_a_message_that_comes_in_pieces_is_read_once() -> None:
    connection = started()

    for byte in message(b"Q", b"SELECT 'E'\x00"):
        connection.asked(bytes([byte]))

    assert connection.statements == 1


def test_what_is_sent_at_once_and_answered_in_pieces_is_one_round_trip() -> None:
    connection = started()

    connection.asked(message(b"P", b""))
    connection.asked(message(b"E", b"") + SYNC)
    connection.answered()
    connection.answered()

    assert connection.round_trips == 1


@pytest.fixture
def server() -> Iterator[Postgres]:
    with databases.own_server(api.free_port()) as own:
        yield own


def test_it_counts_what_goes_to_a_real_postgresql(server: Postgres) -> None:
    async def ask(port: int) -> None:
        connection = await asyncpg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres", ssl=False)
        async with connection.transaction():
            for _ in range(3):
                await connection.fetchval("SELECT $1::int", 1)
        await connection.close()

    with relay.running(server.port) as counting:
        counts = counting.during(lambda: asyncio.run(ask(counting.port)))

    # BEGIN, three reads, COMMIT. The first read is prepared by a round trip of its own, and one opens the connection.
    assert counts.statements == 5
    assert counts.round_trips == 7
