"""The server is killed after any statement of a payout; what is left is completed by a second run of the job."""

import asyncio
from functools import partial
from typing import Any, Literal

import pytest

from audifi.core.db.database import Database
from audifi.funding.jobs import process_payouts
from audifi.funding.payouts import PayoutRow
from audifi.funding.providers import Answer, DevelopmentProvider
from tests.funding.fundings import balances, depositing, failing, funded, receipt, requesting, violations
from tests.ledger.ledgers import NOW
from tests.support import databases
from tests.support.kills import LAST, KilledError, killed


class Bank(DevelopmentProvider):
    """The world outside: it keeps what it was sent when the server dies."""

    def __init__(self, status: Literal["paid", "failed"], *, dies: bool = False) -> None:
        self.status = status
        self.sent: list[Any] = []
        self.dies = dies

    async def send(self, payout: PayoutRow) -> Answer:
        self.sent.append(payout.id)
        if self.dies:
            raise KilledError
        return Answer(status=self.status, reference=str(payout.id))

    async def find(self, payout: PayoutRow) -> Answer | None:
        return Answer(status=self.status, reference=str(payout.id)) if payout.id in self.sent else None


async def process(database: Database, bank: Bank) -> None:
    await process_payouts(database, bank, name="operator", now=NOW)


@pytest.mark.parametrize("status", ["paid", "failed"])
def test_kill_between_any_two_statements_loses_nothing(migrated_database_url: str, status: Any) -> None:
    async def act() -> int:
        async with databases.connect_pools(migrated_database_url) as database:
            for statements in range(LAST):
                user_id, _ = await funded(database, 2500)
                payout = await database.run(requesting(user_id, 2500))
                bank = Bank(status)
                was_killed = await killed(migrated_database_url, partial(process, bank=bank), statements)
                for _ in range(2):
                    await process(database, bank)
                assert len(bank.sent) <= 1
                assert await violations(database) == []
                if bank.sent:
                    assert await balances(database, user_id) == ((0 if status == "paid" else 2500), 0, 0)
                else:  # killed after `submitted` was committed, before it was sent: an operator decides
                    assert await balances(database, user_id) == (2500, 2500, 0)
                    await database.run(failing(payout))
                    assert await balances(database, user_id) == (2500, 0, 0)
                if not was_killed:
                    return statements
        raise AssertionError("the payout has more statements than this test tries")

    assert asyncio.run(act()) > 5


def test_kill_before_the_answer_sends_nothing_twice(migrated_database_url: str) -> None:
    async def act() -> Any:
        async with databases.connect_pools(migrated_database_url) as database:
            user_id, _ = await funded(database, 2500)
            await database.run(requesting(user_id, 2500))
            bank = Bank("paid", dies=True)
            with pytest.raises(KilledError):
                await process(database, bank)
            for _ in range(2):
                await process(database, bank)
            return len(bank.sent), await balances(database, user_id)

    assert asyncio.run(act()) == (1, (0, 0, 0))


@pytest.mark.parametrize("is_request", [True, False])
def test_killed_request_or_deposit_is_whole_or_absent(migrated_database_url: str, *, is_request: bool) -> None:
    async def act() -> Any:
        async with databases.connect_pools(migrated_database_url) as database:
            for statements in range(LAST):
                user_id, _ = await funded(database, 2500)
                step = requesting(user_id, 2500) if is_request else depositing(receipt(user_id, 100, str(user_id)))
                was_killed = await killed(migrated_database_url, partial(Database.run, work=step), statements)
                whole = (2500, 2500, 0) if is_request else (2600, 0, 0)
                assert await balances(database, user_id) in {(2500, 0, 0), whole}
                assert await violations(database) == []
                if not is_request:
                    await database.run(step)
                    assert await balances(database, user_id) == whole
                if not was_killed:
                    return statements
        raise AssertionError("there are more statements than this test tries")

    assert asyncio.run(act()) > 3
