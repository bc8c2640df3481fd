"""Accruals: each movement settles what its accounts have accrued, exactly."""

import random
from decimal import Decimal
from typing import Any
from uuid import uuid4

from audifi.core.db.database import Database
from audifi.ledger import service
from audifi.ledger.accounts import AccountRef, share_asset, user_account
from tests.ledger.ledgers import deposit, move, run

S = 10**9
UNITS = 7
EQUALITY = """
SELECT p.residue + sum(coalesce(x.accrued, 0) + a.posted * (p.per_unit - coalesce(x.checkpoint, 0)))
        - 1000000000::numeric * (SELECT posted FROM ledger_accounts WHERE id = p.account_id)
    FROM ledger_pools AS p JOIN ledger_accounts AS a ON a.asset_id = p.share_asset_id AND a.accrues
        LEFT JOIN ledger_accruals AS x ON x.pool_id = p.id AND x.account_id = a.id
    WHERE p.id = $1 GROUP BY p.id
"""
"""What a pool has, without what its holders have accrued: 0."""
OPEN = """
INSERT INTO ledger_pools (id, share_asset_id, currency_asset_id, account_id, units, per_unit, residue)
    SELECT $1, share.id, a.asset_id, a.id, $3, 0, 0
    FROM ledger_assets AS share, ledger_accounts AS a WHERE share.code = $2 AND a.id = ledger_account_id_v1($4)
"""
DISTRIBUTE = """
UPDATE ledger_pools SET per_unit = per_unit + div($2::numeric * 1000000000 + residue, units),
    residue = mod($2::numeric * 1000000000 + residue, units) WHERE id = $1
"""


class Pools:
    """An IPO of 7 shares, whose pools in two currencies have got an amount each."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.ipo_id = uuid4()
        self.shares = share_asset(self.ipo_id)
        self.pools = {currency: uuid4() for currency in ("USD", "EUR")}
        self.holders = [user_account(uuid4(), "shares", self.shares) for _ in range(3)]

    async def open(self) -> None:
        async with self.database.transaction() as transaction:
            await service.open_asset(transaction, code=self.shares, kind="share")
        offering = AccountRef("ipo", self.ipo_id, "offering", self.shares)
        await move(self.database, AccountRef("ipo", self.ipo_id, "issuance", self.shares), offering, UNITS)
        self.accounts = [offering, *self.holders]
        for currency, pool_id in self.pools.items():
            account = AccountRef("pool", pool_id, "pool", currency)
            await deposit(self.database, account, 1)
            await self.database.fetch_sql(OPEN, pool_id, self.shares, UNITS, account.address)
            await self.database.fetch_sql(DISTRIBUTE, pool_id, Decimal(1))

    async def distribute(self, currency: str, amount: int) -> None:
        await deposit(self.database, AccountRef("pool", self.pools[currency], "pool", currency), amount)
        await self.database.fetch_sql(DISTRIBUTE, self.pools[currency], Decimal(amount))

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

    # The first unit of the pool belonged to the offering: 1 / 7 of it was left as residue.
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
