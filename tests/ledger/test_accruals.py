"""Accruals: each movement settles what its accounts have accrued, exactly."""

import random
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from audifi.core.db.database import Database, Transaction
from audifi.ledger import service
from audifi.ledger.accounts import AccountRef, share_asset, user_account
from audifi.ledger.jobs import sweep_stripes
from audifi.ledger.pools import open_pool, pool_account
from tests.ledger.ledgers import NOW, available, deposit, is_refused, move, run

S = 10**9
UNITS = 7
EQUALITY = """
SELECT p.residue + sum(coalesce(x.accrued, 0) + a.posted * (p.per_unit - coalesce(x.checkpoint, 0)))
        - 1000000000::numeric * (SELECT sum(posted) FROM ledger_accounts WHERE owner_id = p.id)
    FROM ledger_pools AS p JOIN ledger_accounts AS a ON a.asset_id = p.share_asset_id AND a.accrues
        LEFT JOIN ledger_accruals AS x ON x.pool_id = p.id AND x.account_id = a.id
    WHERE p.id = $1 GROUP BY p.id
"""
"""What a pool has, without what its holders have accrued: 0."""


class Pools:
    """An IPO of 7 shares, with pools in two currencies."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.ipo_id = uuid4()
        self.shares = share_asset(self.ipo_id)
        self.pools: dict[str, UUID] = {}
        self.holders = [user_account(uuid4(), "shares", self.shares) for _ in range(3)]

    async def open(self) -> None:
        offering = AccountRef("ipo", self.ipo_id, "offering", self.shares)
        self.accounts = [offering, *self.holders]
        async with self.database.transaction() as transaction:
            await service.open_asset(transaction, code=self.shares, kind="share")
            for currency in ("USD", "EUR"):
                self.pools[currency] = await open_pool(transaction, share=self.shares, currency=currency, units=UNITS)
        await move(self.database, AccountRef("ipo", self.ipo_id, "issuance", self.shares), offering, UNITS)

    def account(self, currency: str = "USD") -> AccountRef:
        return pool_account(self.pools[currency], currency)

    async def distribute(self, currency: str, amount: int) -> None:
        await deposit(self.database, self.account(currency), amount)

    def claiming(self, holder: AccountRef, amount: int) -> Any:
        """Return a step that pays from the pool in USD what a holder claims."""

        async def step(transaction: Transaction) -> None:
            transfer_id = uuid4()
            insert = "INSERT INTO ledger_claims VALUES ($1, ledger_account_id_v1($2))"
            await transaction.fetch_sql(insert, transfer_id, holder.address)
            post = "SELECT ledger_post_v2($1, $2, 'claim', $3, $4, now())"
            addresses = [
                self.account().address.replace("*", str(transfer_id.bytes[15] % 16)),
                available(uuid4()).address,
            ]
            await transaction.fetch_sql(post, transfer_id, str(transfer_id), addresses, [-amount, amount])

        return step

    async def claim(self, holder: AccountRef, amount: int) -> None:
        await self.database.run(self.claiming(holder, amount))

    async def accrued(self, account: AccountRef) -> Decimal | None:
        rows = await self.database.fetch_sql(
            "SELECT accrued FROM ledger_accruals WHERE pool_id = $1 AND account_id = ledger_account_id_v1($2)",
            self.pools["USD"],
            account.address,
        )
        return rows[0][0] if rows else None

    async def differences(self) -> set[Decimal]:
        return {(await self.database.fetch_sql(EQUALITY, pool_id))[0][0] for pool_id in self.pools.values()}


def test_movement_leaves_what_was_accrued_to_the_seller(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        pools = Pools(database)
        await pools.open()
        offering, ana, ben, _ = pools.accounts
        await move(database, offering, ana, 3)
        assert await pools.accrued(ana) == 0
        await pools.distribute("USD", 70)
        await move(database, ana, ben, 2)
        return await pools.accrued(ana), await pools.accrued(ben), await pools.differences()

    ana, ben, differences = run(ledger_url, act)
    assert (ana, ben, differences) == (3 * 10 * S, 0, {0})


def test_issuance_does_not_accrue(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        pools = Pools(database)
        await pools.open()
        issuance = AccountRef("ipo", pools.ipo_id, "issuance", pools.shares)
        await move(database, pools.accounts[0], issuance, 1)
        return await pools.accrued(issuance)

    assert run(ledger_url, act) is None


def test_claim_takes_what_has_accrued_and_no_more(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        pools = Pools(database)
        await pools.open()
        offering, ana, *_ = pools.accounts
        await move(database, offering, ana, 3)
        await pools.distribute("USD", 71)  # 30.428571426 for her
        await pools.claim(ana, 20)
        with pytest.raises(asyncpg.CheckViolationError):
            await pools.claim(ana, 11)
        await pools.claim(ana, 10)
        return await pools.accrued(ana), await pools.differences()

    assert run(ledger_url, act) == (428_571_426, {0})


def test_money_leaves_a_pool_by_claims_alone(ledger_url: str) -> None:
    async def act(database: Database) -> None:
        pools, others = Pools(database), Pools(database)
        await pools.open()
        await others.open()
        await pools.distribute("USD", 70)
        with is_refused("LG006"):
            await deposit(database, pools.account(), -1)
        with is_refused("LG006"):  # shares of another offering
            await pools.claim(others.accounts[0], 1)
        with is_refused("LG006"):
            await deposit(database, pool_account(uuid4(), "USD"), 1)

    run(ledger_url, act)


def test_pool_has_stripes_that_are_swept(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        pools = Pools(database)
        await pools.open()
        for _ in range(5):
            await pools.distribute("USD", 7)
        await sweep_stripes(database, now=NOW)
        [row] = await database.fetch_sql(
            "SELECT a.posted, p.per_unit FROM ledger_pools AS p JOIN ledger_accounts AS a ON a.id = p.account_id"
            " WHERE p.id = $1",
            pools.pools["USD"],
        )
        return tuple(row), await pools.differences()

    assert run(ledger_url, act) == ((35, 5 * S), {0})


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE ledger_pools SET per_unit = per_unit + 1",
        "DELETE FROM ledger_pools",
        "TRUNCATE ledger_pools CASCADE",
        "UPDATE ledger_accruals SET accrued = accrued + 1",
        "INSERT INTO ledger_accruals SELECT * FROM ledger_accruals",
        "DELETE FROM ledger_accruals",
        "TRUNCATE ledger_accruals",
        "UPDATE ledger_claims SET account_id = account_id",
        "DELETE FROM ledger_claims",
    ],
)
def test_raw_sql_cannot_change_pools(ledger_url: str, attack: str) -> None:
    async def act(database: Database) -> None:
        with is_refused("23001"):
            await database.fetch_sql(attack)

    run(ledger_url, act)


def test_new_pool_is_empty_whatever_is_inserted(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        pools = Pools(database)
        await pools.open()
        await database.fetch_sql(
            "INSERT INTO ledger_pools (id, share_asset_id, currency_asset_id, units, per_unit, residue)"
            " SELECT gen_random_uuid(), p.share_asset_id, a.id, 7, 1000, 6 FROM ledger_pools AS p, ledger_assets AS a"
            " WHERE p.id = $1 AND a.code = 'GBP'",
            pools.pools["USD"],
        )
        rows = await database.fetch_sql(
            "SELECT per_unit, residue FROM ledger_pools WHERE share_asset_id ="
            " (SELECT id FROM ledger_assets WHERE code = $1)",
            pools.shares,
        )
        return {tuple(row) for row in rows}

    assert run(ledger_url, act) == {(0, 0)}


def test_random_movements_neither_lose_nor_make_a_fraction(ledger_url: str) -> None:
    chance = random.Random(7)

    async def act(database: Database) -> Any:
        pools = Pools(database)
        await pools.open()
        held = dict.fromkeys(pools.accounts, 0) | {pools.accounts[0]: UNITS}
        for _ in range(40):
            if chance.random() < 0.4:
                await pools.distribute(chance.choice(["USD", "EUR"]), chance.randint(1, 10**12))
            else:
                source = chance.choice([account for account in held if held[account]])
                target = chance.choice([account for account in held if account is not source])
                amount = chance.randint(1, held[source])
                await move(database, source, target, amount)
                held[source] -= amount
                held[target] += amount
        return await pools.differences()

    assert run(ledger_url, act) == {0}
