"""A completed offering whose shares have holders, without HTTP, and short names for what happens to its revenue."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from audifi.core.db.database import Database, Transaction
from audifi.core.http.problems import Problem
from audifi.core.idempotency.service import make_claim
from audifi.core.invariants import check
from audifi.dividends import claims, distributions, revenue
from audifi.dividends.distributions import DistributionRow
from audifi.dividends.invariants import INVARIANTS as OF_DIVIDENDS
from audifi.dividends.models import RevenueSource
from audifi.dividends.revenue import Actor, NewRevenue, Receipt
from audifi.funding.invariants import INVARIANTS as OF_FUNDING
from audifi.ledger import service
from audifi.ledger.accounts import AccountRef, share_asset, user_account
from audifi.ledger.invariants import INVARIANTS as OF_THE_LEDGER
from tests.funding.fundings import new_user
from tests.ledger.ledgers import NOW, balance, deposit, move, post_in
from tests.support import databases

type Step = Callable[[Transaction], Awaitable[Any]]

SCALE = 10**9
RECEIPT = Receipt(reference="BANK-1", reason="line 42")
ADMIN = Actor(user_id=uuid4(), is_admin=True)

MASTER = """
INSERT INTO masters (id, artist_id, type, title, description, genre, release_date, mood_tags, status,
        rights_confirmed_at, audio_sha256, cover_sha256, version, created_at)
    VALUES ($1, $2, 'track', '=Night drive', 'A song.', 'House', '2026-01-31', '{}', 'offered', $3,
        decode(repeat('00', 32), 'hex'), decode(repeat('00', 32), 'hex'), 1, $3)
"""
IPO = """
INSERT INTO ipos (id, master_id, artist_id, status, currency, total_shares, retained_shares, offered, unit_price,
        max_per_account, min_shares, holders_bps, platform_bps, sale_fee_bps, resale_fee_bps, royalty,
        royalty_to_holders_bps, lockup_days, reflection_hours, opens_at, ends_at, terms_sha256, created_at)
    VALUES ($1, $2, $3, $4, 'USD', $5::bigint, 0, $5, 1, $5, 0, 5000, 1000, 500, 0, '{}', 0, 0, 0, $6::timestamptz,
        $6::timestamptz + interval '1 day', '', $6::timestamptz)
"""


def run[T](url: str, act: Callable[[Database], Awaitable[T]], *, size: int = 5) -> T:
    """Run a test's coroutine on connection pools, and check the invariants when it has ended."""

    async def with_pools() -> T:
        async with databases.connect_pools(url, size=size, database_pool_timeout_seconds=60) as database:
            result = await act(database)
            assert await violations(database) == []
            return result

    return asyncio.run(with_pools())


async def violations(database: Database) -> list[str]:
    async with database.connection() as connection:
        broken = await check(connection, (*OF_THE_LEDGER, *OF_FUNDING, *OF_DIVIDENDS))
    return [f"{violation.invariant.name}: {violation.examples}" for violation in broken]


class Stage:
    """An artist's master, the holders of its shares, and what is done with its revenue, at `now`."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.master_id, self.ipo_id = uuid4(), uuid4()
        self.shares = share_asset(self.ipo_id)
        self.now = NOW

    async def open(self, *holdings: int, status: str = "completed") -> "Stage":
        """Give each of some new users so many shares."""
        self.artist = await new_user(self.database)
        self.holders = [await new_user(self.database) for _ in holdings]
        self.total = sum(holdings)
        await self.database.fetch_sql(MASTER, self.master_id, self.artist, NOW)
        await self.database.fetch_sql(IPO, self.ipo_id, self.master_id, self.artist, status, self.total, NOW)
        async with self.database.transaction() as tx:
            await service.open_asset(tx, code=self.shares, kind="share")
        issuance = AccountRef("ipo", self.ipo_id, "issuance", self.shares)
        for holder, amount in zip(self.holders, holdings, strict=True):
            await move(self.database, issuance, self.held_by(holder), amount)
        return self

    def held_by(self, holder: UUID) -> AccountRef:
        return user_account(holder, "shares", self.shares)

    async def transfer(self, source: UUID, target: UUID, amount: int) -> None:
        await move(self.database, self.held_by(source), self.held_by(target), amount)

    def transferring(self, source: UUID, target: UUID, amount: int) -> Step:
        postings = ((self.held_by(source), -amount), (self.held_by(target), amount))
        return lambda tx: post_in(tx, *postings)

    async def record(
        self, amount: int, *, currency: str = "USD", source: RevenueSource = "streaming", reference: str | None = None
    ) -> UUID:
        new = NewRevenue(
            ipo_id=self.ipo_id,
            source=source,
            amount=amount,
            currency=currency,
            period_start=date(2026, 3, 1),
            period_end=date(2026, 3, 31),
            provider="DistroKid",
            external_ref=reference or str(uuid4()),
        )
        async with self.database.transaction() as tx:
            return await revenue.record(tx, new, now=self.now)

    def processing(
        self,
        event_id: UUID,
        *,
        by: Actor = ADMIN,
        receipt: Receipt | None = RECEIPT,
        record_at: datetime | None = None,
        notice: timedelta = timedelta(0),
    ) -> Step:
        return lambda tx: distributions.process(
            tx, event_id=event_id, by=by, receipt=receipt, record_at=record_at, notice=notice, now=self.now
        )

    async def declare(self, amount: int, *, currency: str = "USD", **values: Any) -> DistributionRow:
        event_id = await self.record(amount, currency=currency)
        row: DistributionRow = await self.database.run(self.processing(event_id, **values))
        return row

    def posting(self, declared: DistributionRow) -> Step:
        return lambda tx: distributions.post(tx, distribution_id=declared.id, now=self.now)

    async def distribute(self, amount: int, *, currency: str = "USD") -> DistributionRow:
        """Share out revenue, half of which is the holders'."""
        declared = await self.declare(amount, currency=currency)
        assert await self.database.run(self.posting(declared))
        return declared

    def voiding(self, event_id: UUID, by: Actor = ADMIN) -> Step:
        return lambda tx: revenue.void(tx, event_id=event_id, by=by, now=self.now)

    def claiming(self, holder: UUID, *, key: str | None = None, **values: Any) -> Step:
        claim = make_claim(user_id=holder, key=key or str(uuid4()), request=b"")
        return lambda tx: claims.claim(tx, claim, user_id=holder, now=self.now, **{"master_id": None} | values)

    async def claim(self, holder: UUID, **values: Any) -> list[int]:
        """Return the paid amounts; none if there was nothing to claim."""
        try:
            result = await self.database.run(self.claiming(holder, **values))
        except Problem as problem:
            assert problem.code == "dividend.nothing_to_claim"
            return []
        return [paid["amount"] for paid in json.loads(result.body)["data"]]

    async def money(self, owner: UUID, currency: str = "USD") -> int:
        return (await balance(self.database, user_account(owner, "available", currency)))[0]

    async def kept(self) -> int:
        """Return the funded revenue that isn't distributed."""
        return (await balance(self.database, revenue.revenue_account(self.ipo_id, "USD")))[0]

    async def unclaimed(self, currency: str = "USD") -> int:
        """Return the balance of the master's pool."""
        rows = await self.database.fetch_sql(
            "SELECT sum(a.posted)::bigint FROM ledger_accounts AS a JOIN dividend_pools AS d ON d.pool_id = a.owner_id"
            " WHERE d.ipo_id = $1 AND d.currency = $2",
            self.ipo_id,
            currency,
        )
        return int(rows[0][0])

    async def fund_artist(self, amount: int) -> None:
        await deposit(self.database, user_account(self.artist, "available", "USD"), amount)

    async def suspend(self, *, suspended: bool = True) -> None:
        at = NOW if suspended else None
        await self.database.fetch_sql("UPDATE masters SET suspended_at = $2 WHERE id = $1", self.master_id, at)

    async def status_of(self, event_id: UUID) -> str:
        rows = await self.database.fetch_sql("SELECT status FROM revenue_events WHERE id = $1", event_id)
        return str(rows[0][0])


async def refusal(refused: Awaitable[Any]) -> str:
    """Return the code of the problem that is raised."""
    try:
        await refused
    except Problem as problem:
        return problem.code
    return "done"
