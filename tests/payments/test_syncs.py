"""Fetch, then write if still the newest: no order of events and fetches leaves the older state."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

from audifi.core.db.database import Transaction
from audifi.payments import syncs
from audifi.payments.syncs import SyncKind
from audifi.services import Services
from tests.payments.processes import process
from tests.payments.shops import Shop


@dataclass
class Thing:
    """An object at Stripe whose fetches a test holds back."""

    id: str = field(default_factory=lambda: f"thing_{uuid4().hex}")
    state: str = "old"
    written: list[str] = field(default_factory=list)
    fetches: int = 0
    held: asyncio.Event | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None

    def register(self, services: Services) -> None:
        services.syncs.register([SyncKind(name="thing", events=(), fetch=self._fetch, write=self._write)])

    async def _fetch(self, _: Services, _id: str) -> str:
        self.fetches += 1
        if self.error:
            raise self.error
        state, held = self.state, self.held
        if held:
            self.arrived.set()
            await held.wait()
        return state

    async def _write(self, _services: Services, _transaction: Transaction, _id: str, fetched: Any) -> None:
        self.written.append(fetched)

    async def request(self, services: Services) -> None:
        async with services.database.transaction() as transaction:
            await syncs.request_sync(transaction, services, kind="thing", provider_id=self.id, now=services.clock())

    async def run(self, services: Services) -> None:
        await syncs.run_sync(services, kind="thing", provider_id=self.id)


def acting(shop: Shop, act: Callable[[Services, Thing], Awaitable[None]]) -> Thing:
    """Run it in a process that has the kind of a thing; no worker of the shop takes its jobs."""
    thing = Thing()

    async def run() -> None:
        async with process(shop) as services:
            thing.register(services)
            await act(services, thing)

    asyncio.run(run())
    # The shop's own worker doesn't know this kind.
    shop.execute(
        f"DELETE FROM pgqueuer WHERE payload = 'thing {thing.id}'; DELETE FROM provider_syncs WHERE kind = 'thing'"
    )
    return thing


def test_older_fetch_never_overwrites_a_newer_one(shop: Shop) -> None:
    async def act(services: Services, thing: Thing) -> None:
        thing.held = asyncio.Event()
        release = thing.held
        await thing.request(services)
        slow = asyncio.create_task(thing.run(services))
        await thing.arrived.wait()
        thing.state, thing.held = "new", None
        await thing.request(services)
        await thing.run(services)
        release.set()
        await slow

    assert acting(shop, act).written == ["new"]


def test_three_requests_are_one_fetch(shop: Shop) -> None:
    async def act(services: Services, thing: Thing) -> None:
        for _ in range(3):
            await thing.request(services)
        for _ in range(3):
            await thing.run(services)

    assert acting(shop, act).fetches == 1


def test_request_during_a_fetch_causes_another(shop: Shop) -> None:
    async def act(services: Services, thing: Thing) -> None:
        thing.held = asyncio.Event()
        await thing.request(services)
        slow = asyncio.create_task(thing.run(services))
        await thing.arrived.wait()
        await thing.request(services)
        thing.held.set()
        await slow
        thing.state = "new"
        await thing.run(services)

    assert acting(shop, act).written == ["old", "new"]


def test_failed_fetch_is_queued_again_later(shop: Shop) -> None:
    async def act(services: Services, thing: Thing) -> None:
        thing.error = RuntimeError("a bug")
        await thing.request(services)
        with pytest.raises(RuntimeError):
            await thing.run(services)
        last = f"SELECT last_error FROM provider_syncs WHERE provider_id = '{thing.id}'"
        jobs = f"SELECT count(*) FROM pgqueuer WHERE payload = 'thing {thing.id}'"
        assert await asyncio.to_thread(shop.value, last) == "RuntimeError"
        queued = await asyncio.to_thread(shop.value, jobs)
        await syncs.requeue_late(services)
        assert await asyncio.to_thread(shop.value, jobs) == queued  # not yet
        shop.app.clock.advance(minutes=16)
        await syncs.requeue_late(services)
        shop.app.clock.advance(minutes=-16)
        assert await asyncio.to_thread(shop.value, jobs) == queued + 1
        thing.error = None
        await thing.run(services)
        assert await asyncio.to_thread(shop.value, last) is None

    assert acting(shop, act).written == ["old"]
