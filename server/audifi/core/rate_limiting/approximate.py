"""Approximate rate limits of every request, counted in memory and shared between machines once a second.

Counting takes no round trip. All machines together can allow what arrives in a second or two beyond the limit; while
PostgreSQL is unavailable, each machine allows the whole limit.
"""

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import BigInteger, DateTime, Text, bindparam, case, func, select
from sqlalchemy.dialects.postgresql import ARRAY, insert

from audifi.core.clock import Clock
from audifi.core.db.database import Database
from audifi.core.db.statements import Statement
from audifi.core.rate_limiting.limits import CounterKeys, Limit, LimitStatus, check
from audifi.core.rate_limiting.models import RateLimitCounter
from audifi.core.telemetry.outage_log import OutageLog

logger = logging.getLogger(__name__)

SHARE_SECONDS = 1
MAX_COUNTERS = 100_000


@dataclass(slots=True, kw_only=True)
class Counter:
    """The count of one window."""

    key: str
    expires_at: int
    """POSIX timestamp, the same on all machines."""
    count: int = 0
    """The count of all machines, as far as this one knows it."""
    unshared: int = 0
    """The part of it that this machine hasn't shared yet."""


@dataclass(frozen=True, slots=True)
class Total:
    key: str
    count: int


class ReplicatedCounters:
    """Counters in memory; `share` adds what is new to the table of all machines, and learns the totals."""

    def __init__(self, database: Database, keys: CounterKeys, *, max_counters: int = MAX_COUNTERS) -> None:
        self._database = database
        self._keys = keys
        self._max_counters = max_counters
        self._counters: dict[tuple[str, str], Counter] = {}

    def increment(self, limit: Limit, subject: str, *, now: float) -> Counter:
        """Count one more in the current window. When the table is full, a new subject isn't kept."""
        name = (limit.name, subject)
        counter = self._counters.get(name)
        if counter is None or counter.expires_at <= now:
            expires_at = (int(now) // limit.seconds + 1) * limit.seconds
            if counter is None and len(self._counters) >= self._max_counters:
                return Counter(key="", expires_at=expires_at, count=1)
            counter = self._counters[name] = Counter(key=self._keys.key(limit, subject), expires_at=expires_at)
        counter.count += 1
        counter.unshared += 1
        return counter

    async def share(self, *, now: float) -> bool:
        """Add what this machine counted since the last time to the totals in PostgreSQL, and read them.

        Returns:
            Whether there was anything to add.
        """
        self._counters = {name: counter for name, counter in self._counters.items() if counter.expires_at > now}
        unshared = {counter.key: counter for counter in self._counters.values() if counter.unshared}
        if not unshared:
            return False
        # Sorted by key: two machines that lock the same rows wait for each other, and don't deadlock.
        sent = {key: unshared[key].unshared for key in sorted(unshared)}
        totals = await self._database.write_all(
            ADD,
            Total,
            keys=list(sent),
            counts=list(sent.values()),
            ends=[datetime.fromtimestamp(unshared[key].expires_at, UTC) for key in sent],
        )
        for total in totals:
            counter = unshared[total.key]
            counter.unshared -= sent[total.key]
            counter.count = total.count + counter.unshared  # requests went on while the statement ran
        return True


def _add_statement() -> Statement:
    """Return the upsert that adds counts to the totals; a row whose window is over starts anew."""
    rows = select(
        func.unnest(bindparam("keys", type_=ARRAY(Text))),
        func.unnest(bindparam("counts", type_=ARRAY(BigInteger))),
        func.unnest(bindparam("ends", type_=ARRAY(DateTime(timezone=True)))),
    )
    new = insert(RateLimitCounter).from_select(["key", "count", "expires_at"], rows)
    is_over = RateLimitCounter.expires_at < new.excluded.expires_at
    upsert = new.on_conflict_do_update(
        index_elements=["key"],
        set_={
            "count": case((is_over, new.excluded.count), else_=RateLimitCounter.count + new.excluded.count),
            "expires_at": func.greatest(RateLimitCounter.expires_at, new.excluded.expires_at),
        },
    ).returning(RateLimitCounter.key, RateLimitCounter.count)
    return Statement(upsert)


ADD = _add_statement()


class ApproximateRateLimiter:
    """Counts requests per client and per account, and for the limits of single features."""

    def __init__(
        self,
        counters: ReplicatedCounters,
        clock: Clock,
        *,
        per_client: Limit,
        per_account: Limit,
        factor: int = 1,
    ) -> None:
        self._counters = counters
        self._clock = clock
        self._factor = factor
        self.per_client = per_client
        self.per_account = per_account

    def hit(self, limit: Limit, subject: str) -> LimitStatus:
        """Count a request for one subject of a limit.

        Raises:
            RateLimitExceededError: the limit is reached.
        """
        now = self._clock().timestamp()
        counter = self._counters.increment(limit, subject, now=now)
        return check(limit.times(self._factor), count=counter.count, expires_at=counter.expires_at, now=now)

    async def run(self) -> None:
        """Share the counters once a second until cancelled."""
        begins = "rate limit sync failed; using local counts: error=%s"
        outage = OutageLog(logger, begins=begins, ends="rate limit sync works again")
        while True:
            try:
                if await self._counters.share(now=self._clock().timestamp()):
                    outage.record_success()
            except Exception as error:  # noqa: BLE001 - counts stay, and are shared when the database is back
                outage.record_failure(type(error).__name__)
            await asyncio.sleep(SHARE_SECONDS)
