"""Health is public, so it must be cheap to hammer."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from audifi.core.config.settings import DatabaseSettings, load
from audifi.core.db.database import Database
from audifi.health.probe import DatabaseProbe
from tests.support import databases
from tests.support.fixtures import StartApi
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

REQUEST = b"GET /api/v1/health HTTP/1.1\r\nHost: api\r\n\r\n"
CONNECTIONS = 50
REQUESTS_PER_CONNECTION = 200
PIPELINED = 10
SERVERS_OWN = 3  # which look for jobs, for schedules, and for sessions that were revoked


async def pipeline(port: int) -> int:
    """Send many requests at once (RFC 9112, 9.3.2), again and again; returns how many were answered with 200."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answered = 0
    for _ in range(REQUESTS_PER_CONNECTION // PIPELINED):
        writer.write(REQUEST * PIPELINED)
        for _ in range(PIPELINED):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            answered += head.startswith(b"HTTP/1.1 200 ")
    writer.close()
    return answered


async def hammer(port: int) -> int:
    return sum(await asyncio.gather(*(pipeline(port) for _ in range(CONNECTIONS))))


class Sessions:
    """Counts the connections that a database has seen, without its own."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._own = 0

    def count(self) -> int:
        time.sleep(0.2)  # they are counted when they have said something
        self._own += 1
        query = "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"
        count = databases.fetch_value(self._url, query)
        assert isinstance(count, int)
        return count - self._own


def test_many_requests_share_one_probe_per_second(start_api: StartApi, migrated_database_url: str) -> None:
    sessions = Sessions(migrated_database_url)
    api = start_api(migrated_database_url)
    wait_until(lambda: sessions.count() >= SERVERS_OWN)

    began = time.monotonic()
    answered = asyncio.run(hammer(api.port))
    took = time.monotonic() - began

    probes = sessions.count() - SERVERS_OWN
    assert answered == CONNECTIONS * REQUESTS_PER_CONNECTION == 10_000
    assert 1 <= probes <= took + 1


async def no_pool() -> bool:
    raise AssertionError("only a saturated database makes the probe ask the pool")


def new_probe() -> DatabaseProbe:
    return DatabaseProbe(load(DatabaseSettings), is_pool_reachable=no_pool)


@asynccontextmanager
async def silent_database() -> AsyncIterator[tuple[str, list[bytes]]]:
    """The URL of a server that takes connections and says nothing, and the first packet of each connection."""
    taken: list[bytes] = []
    writers: list[asyncio.StreamWriter] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        taken.append(await reader.read(1000))

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    yield f"postgres://postgres@127.0.0.1:{server.sockets[0].getsockname()[1]}/postgres?sslmode=disable", taken
    for writer in writers:
        writer.close()
    server.close()


def test_waiting_requests_share_one_probe(start_api: StartApi) -> None:
    async def status(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        return head.split(b" ")[1]

    async def run() -> tuple[set[bytes], int]:
        async with silent_database() as (url, taken):
            # Whose own connections are patient, and don't come again meanwhile.
            api = await asyncio.to_thread(start_api, url, DATABASE_CONNECT_TIMEOUT_SECONDS="60")
            async with asyncio.timeout(20):
                while len(taken) < SERVERS_OWN:  # noqa: ASYNC110 - it is another process that connects
                    await asyncio.sleep(0.05)
            return set(await asyncio.gather(*(status(api.port) for _ in range(200)))), len(taken) - SERVERS_OWN

    assert asyncio.run(run()) == ({b"503"}, 1)


def test_probe_connects_as_the_pools_do(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> list[bytes]:
        async with silent_database() as (url, taken):
            monkeypatch.setenv("DATABASE_URL", url)
            monkeypatch.setenv("DATABASE_CONNECT_TIMEOUT_SECONDS", "0.1")
            await new_probe().database_state()
            async with Database(load(DatabaseSettings), pool_size=1, read_pool_size=1) as database:
                with pytest.raises(TimeoutError):
                    await database.fetch_sql("SELECT 1")
            return taken

    of_probe, of_pool = asyncio.run(run())
    assert b"statement_timeout" in of_pool
    assert of_probe == of_pool


def test_cancelled_request_does_not_cancel_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> tuple[str, int]:
        async with silent_database() as (url, taken):
            monkeypatch.setenv("DATABASE_URL", url)
            probe = new_probe()
            first, second = (asyncio.create_task(probe.database_state()) for _ in range(2))
            await asyncio.sleep(0.1)
            first.cancel()
            return await second, len(taken)

    assert asyncio.run(run()) == ("disconnected", 1)


def test_result_is_reused_for_at_most_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> list[int]:
        counts = []
        async with silent_database() as (url, taken):
            monkeypatch.setenv("DATABASE_URL", url)
            probe = new_probe()
            for moment in (10, 10.9, 11.1):
                monkeypatch.setattr("audifi.health.probe.time", SimpleNamespace(monotonic=lambda at=moment: at))
                await probe.database_state()
                counts.append(len(taken))
        return counts

    assert asyncio.run(run()) == [1, 1, 2]


def test_busy_event_loop_does_not_fail_the_probe(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)

    async def ask_while_busy() -> str:
        probing = asyncio.create_task(new_probe().database_state())
        for _ in range(8):
            await asyncio.sleep(0)
            time.sleep(0.5)  # noqa: ASYNC251 - a turn of the loop takes so long
        return await probing

    assert asyncio.run(ask_while_busy()) == "connected"
