"""How much each client, and each account, may ask of the API in all.

Asked at every request, so without a round trip: each machine counts for itself, and once a second they put their counts
together in PostgreSQL, by one statement. All machines together may so let through what comes in a second more than the
limit. While PostgreSQL is away, each has the limit for itself.
"""

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import override

from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerMinute, WindowStats
from limits.aio.storage import Storage
from limits.aio.strategies import FixedWindowRateLimiter
from sqlalchemy import BigInteger, DateTime, Text, bindparam, case, func, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql.dml import ReturningInsert
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from audifi.core.clock import Clock
from audifi.core.http import problems
from audifi.core.http.client_info import network_of
from audifi.core.http.problems import Problem
from audifi.core.rate_limiting.limiter import Limit, exceeded, told
from audifi.core.rate_limiting.models import RateLimitCounter

logger = logging.getLogger(__name__)

SHARE_SECONDS = 1
MAX_COUNTERS = 100_000


@dataclass(kw_only=True)
class Counter:
    """Of a window, that begins and ends at the same time on all machines."""

    expires_at: float
    """POSIX time."""
    count: int = 0
    """All machines', as far as they are known here."""
    unshared: int = 0
    """This machine's, of which the others don't know yet."""


class SharedCounters(Storage):
    """A store for the package `limits`, in memory."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        super().__init__()
        self._engine = engine
        self._clock = clock
        self._counters: dict[str, Counter] = {}
        self._last = Counter(expires_at=0)

    @property
    @override
    def base_exceptions(self) -> type[Exception]:
        return DBAPIError

    @override
    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        now = self._clock().timestamp()
        counter = self._counters.get(key)
        if counter is None or counter.expires_at <= now:
            counter = Counter(expires_at=(now // expiry + 1) * expiry)
            if key in self._counters or len(self._counters) < MAX_COUNTERS:  # more than that aren't counted
                self._counters[key] = counter
        counter.count += amount
        counter.unshared += amount
        self._last = counter
        return counter.count

    def last_hit(self, item: RateLimitItem) -> WindowStats:
        """Of the counter that was counted on last; what `get_window_stats` tells after finding it twice more."""
        return WindowStats(self._last.expires_at, max(0, item.amount - self._last.count))

    @override
    async def get(self, key: str) -> int:
        counter = self._counters.get(key)
        return counter.count if counter else 0

    @override
    async def get_expiry(self, key: str) -> float:
        counter = self._counters.get(key)
        return counter.expires_at if counter else self._clock().timestamp()

    @override
    async def check(self) -> bool:
        return True

    @override
    async def reset(self) -> int | None:
        count = len(self._counters)
        self._counters.clear()
        return count

    @override
    async def clear(self, key: str) -> None:
        self._counters.pop(key, None)

    async def share(self) -> None:
        """Add what was counted here since the last time to all machines' counts, and learn them."""
        now = self._clock().timestamp()
        self._counters = {key: counter for key, counter in self._counters.items() if counter.expires_at > now}
        # In the order of their keys: two machines that lock the same rows wait for each other, and not both.
        new = {key: counter for key, counter in sorted(self._counters.items()) if counter.unshared}
        if not new:
            return
        sent = {key: counter.unshared for key, counter in new.items()}
        values = {
            "keys": list(new),
            "counts": list(sent.values()),
            "ends": [datetime.fromtimestamp(counter.expires_at, UTC) for counter in new.values()],
        }
        async with self._engine.begin() as connection:
            totals = (await connection.execute(ADD, values)).all()
        for key, count in totals:
            counter = new[key]
            counter.unshared -= sent[key]
            counter.count = count + counter.unshared


def _add() -> ReturningInsert[str, int]:
    given = [
        func.unnest(bindparam("keys", type_=ARRAY(Text))),
        func.unnest(bindparam("counts", type_=ARRAY(BigInteger))),
        func.unnest(bindparam("ends", type_=ARRAY(DateTime(timezone=True)))),
    ]
    new = insert(RateLimitCounter).from_select(["key", "count", "expires_at"], select(*given))
    is_over = RateLimitCounter.expires_at < new.excluded.expires_at
    return new.on_conflict_do_update(
        index_elements=["key"],
        set_={
            "count": case((is_over, new.excluded.count), else_=RateLimitCounter.count + new.excluded.count),
            "expires_at": func.greatest(RateLimitCounter.expires_at, new.excluded.expires_at),
        },
    ).returning(RateLimitCounter.key, RateLimitCounter.count)


ADD = _add()


class Traffic:
    """The limits, and the counters."""

    def __init__(
        self,
        engine: AsyncEngine,
        clock: Clock,
        *,
        client_per_minute: int,
        account_per_minute: int,
        changes_per_day: int,
    ) -> None:
        self._clock = clock
        self._counters = SharedCounters(engine, clock)
        self._limiter = FixedWindowRateLimiter(self._counters)
        self._per_client = Limit(name="client", item=RateLimitItemPerMinute(client_per_minute))
        self._per_account = Limit(name="account", item=RateLimitItemPerMinute(account_per_minute))
        self._changes = Limit(name="account-changes", item=RateLimitItemPerDay(changes_per_day))

    async def hit_client(self, connection: HTTPConnection) -> None:
        """Count a request for its client.

        Raises:
            Problem: 429.
        """
        client = connection.scope["client"]
        await self._hit(connection, self._per_client, network_of(client[0] if client else ""))

    async def hit_account(self, connection: HTTPConnection, account: str) -> None:
        """Count a request for the account that makes it.

        Raises:
            Problem: 429.
        """
        await self._hit(connection, self._per_account, account)

    async def hit_change(self, connection: HTTPConnection, account: str) -> None:
        """Count what an account changes of itself, and leaves a record of.

        Raises:
            Problem: 429.
        """
        await self._hit(connection, self._changes, account)

    async def _hit(self, connection: HTTPConnection, limit: Limit, subject: str) -> None:
        allowed = await self._limiter.hit(limit.item, limit.name, subject)
        stats = self._counters.last_hit(limit.item)
        now = self._clock()
        if not allowed:
            raise exceeded(limit, stats, now)
        connection.scope.setdefault("state", {}).setdefault("rate_limits", []).extend(told(limit, stats, now))

    async def follow(self) -> None:
        """Put counts together, each second, for ever."""
        while True:
            try:
                await self._counters.share()
            except Exception as error:  # noqa: BLE001 - until it is back, each machine counts for itself
                logger.warning("can't tell what other machines have counted: %s", type(error).__name__)
            await asyncio.sleep(SHARE_SECONDS)


class TrafficMiddleware:
    """Counts each request for its client, and tells on each answer what is left."""

    def __init__(self, app: ASGIApp, *, traffic: Traffic) -> None:
        self._app = app
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = scope["state"].get("rate_limits", [])
                message["headers"].extend((name.lower().encode(), value.encode()) for name, value in told)
            await send(message)

        try:
            await self._traffic.hit_client(HTTPConnection(scope))
        except Problem as problem:
            await problems.response(scope, problem)(scope, receive, send)
        else:
            await self._app(scope, receive, send_with_limits)
