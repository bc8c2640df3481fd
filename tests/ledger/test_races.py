"""Two transactions at once: what decides, in both orders."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from audifi.core.db.database import Database, Transaction
from audifi.ledger import service
from audifi.ledger.accounts import AccountRef
from audifi.ledger.jobs import expire_holds
from tests.ledger.ledgers import (
    LATER,
    NOW,
    available,
    balance,
    deposit,
    external,
    hold,
    move,
    post_in,
    run,
)
from tests.support.races import Step, in_order, order, outcome, race, uncommitted

__all__ = ["order"]


def paying(source: AccountRef, amount: int, *, hold_id: UUID | None = None, now: Any = NOW) -> Step:
    async def step(transaction: Transaction) -> Any:
        return await post_in(transaction, (source, -amount), (external(), amount), settles=hold_id, now=now)

    return step


def holding(account: AccountRef, amount: int) -> Step:
    async def step(transaction: Transaction) -> Any:
        return await service.hold(
            transaction, account=account, amount=amount, purpose="payout", key=str(uuid4()), expires_at=LATER, now=NOW
        )

    return step


def voiding(hold_id: UUID) -> Step:
    async def step(transaction: Transaction) -> Any:
        return await service.void_hold(transaction, hold_id=hold_id, now=NOW)

    return step


def reversing(transfer_id: UUID) -> Step:
    async def step(transaction: Transaction) -> Any:
        return await service.reverse(transaction, transfer_id=transfer_id, reason="a mistake", now=NOW)

    return step


def test_two_payments_of_one_balance(ledger_url: str, order: str) -> None:
    async def act(database: Database) -> Any:
        ana = available(uuid4())
        await deposit(database, ana, 100)
        results = await race(database, order=order, steps=(paying(ana, 60), paying(ana, 70)))
        return results, (await balance(database, ana))[0]

    assert run(ledger_url, act) == (["done", "balance.insufficient"], 30 if order == "other first" else 40)


def test_payment_and_hold_of_one_balance(ledger_url: str, order: str) -> None:
    async def act(database: Database) -> Any:
        ana = available(uuid4())
        await deposit(database, ana, 100)
        results = await race(database, order=order, steps=(paying(ana, 60), holding(ana, 70)))
        return results, await balance(database, ana)

    assert run(ledger_url, act) == (["done", "balance.insufficient"], (100, 70) if order == "other first" else (40, 0))


@pytest.mark.parametrize("other", ["settle", "void"])
def test_hold_is_used_once(ledger_url: str, order: str, other: str) -> None:
    async def act(database: Database) -> Any:
        ana = available(uuid4())
        await deposit(database, ana, 100)
        held = (await hold(database, ana, 60)).hold_id
        second = voiding(held) if other == "void" else paying(ana, 50, hold_id=held)
        results = await race(database, order=order, steps=(paying(ana, 60, hold_id=held), second))
        assert (await balance(database, ana))[1] == 0
        return results

    assert run(ledger_url, act) == ["done", "hold.not_open"]


def test_wait_for_locks_is_measured(ledger_url: str) -> None:
    waits: list[tuple[str, float]] = []

    async def act(database: Database) -> None:
        ana = available(uuid4())
        await deposit(database, ana, 100)
        database.on_duration = lambda measure, seconds: waits.append((measure.name, seconds))
        assert await in_order(database, paying(ana, 10), paying(ana, 20)) == ["done", "done"]

    run(ledger_url, act)
    assert [name for name, _ in waits] == ["ledger_lock_wait_seconds"] * 2
    assert 0 < waits[0][1] < waits[1][1]


def test_hold_is_settled_or_swept(ledger_url: str) -> None:
    """The sweep skips a hold that a transfer is settling, and a transfer finds a hold that was swept closed."""

    async def act(database: Database) -> Any:
        ana, ben = available(uuid4()), available(uuid4())
        for account in (ana, ben):
            await deposit(database, account, 100)
        first, second = [(await hold(database, account, 30)).hold_id for account in (ana, ben)]
        async with uncommitted(database, paying(ana, 30, hold_id=first)):
            await asyncio.wait_for(expire_holds(database, now=LATER), 60)  # doesn't wait
        swept = await outcome(move(database, ben, external(), 30, settles=second))
        return swept, await balance(database, ana), await balance(database, ben)

    assert run(ledger_url, act) == ("hold.not_open", (70, 0), (100, 0))


def test_transfer_is_reversed_once(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana = available(uuid4())
        deposited = await deposit(database, ana, 100)
        step = reversing(deposited.transfer_id)
        return await in_order(database, step, step), await balance(database, ana)

    assert run(ledger_url, act) == (["done", "transfer.already_reversed"], (0, 0))


def test_reversal_and_payment_of_one_balance(ledger_url: str, order: str) -> None:
    async def act(database: Database) -> Any:
        ana = available(uuid4())
        deposited = await deposit(database, ana, 100)
        steps = (reversing(deposited.transfer_id), paying(ana, 100))
        return await race(database, order=order, steps=steps)

    assert run(ledger_url, act) == ["done", "balance.insufficient"]


def test_fifty_callers_with_one_key_post_one_transfer(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana, key = available(uuid4()), str(uuid4())
        posted = await asyncio.gather(*[deposit(database, ana, 100, key=key) for _ in range(50)])
        assert len({each.transfer_id for each in posted}) == 1
        assert sum(not each.is_replay for each in posted) == 1
        return await balance(database, ana)

    assert run(ledger_url, act, size=10) == (100, 0)


def test_ten_of_fifty_payments_of_a_tenth_succeed(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana = available(uuid4())
        await deposit(database, ana, 100)
        results = await asyncio.gather(*[outcome(move(database, ana, external(), 10)) for _ in range(50)])
        return results.count("done"), results.count("balance.insufficient"), await balance(database, ana)

    assert run(ledger_url, act, size=10) == (10, 40, (0, 0))


def test_crossing_transfers_do_not_deadlock(ledger_url: str) -> None:
    """Also where each opens accounts: nothing is locked before all of its accounts are there."""

    async def act(database: Database) -> Any:
        ana, ben = available(uuid4()), available(uuid4())
        await deposit(database, ana, 1000)
        await deposit(database, ben, 1000)

        async def cross(number: int) -> None:
            source, target = (ana, ben) if number % 2 else (ben, ana)
            await move(database, source, target, 1 + number % 3)
            third = available(UUID(int=number // 4))
            await move(database, source, third, 1)

        await asyncio.gather(*[cross(number) for number in range(60)])
        [row] = await database.fetch_sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return row[0]

    assert run(ledger_url, act, size=10) == 0


def test_deadlock_is_retried_and_counted(ledger_url: str) -> None:
    counted: list[tuple[str, str]] = []

    async def act(database: Database) -> Any:
        ana, ben = available(uuid4()), available(uuid4())
        for account in (ana, ben):
            await deposit(database, account, 100)
        database.on_event = lambda measure, label: counted.append((measure.name, label))
        both_hold_one = asyncio.Barrier(2)
        is_first_try = {ana: True, ben: True}

        def crossing(first: AccountRef, second: AccountRef) -> Step:
            """Two transfers in one transaction are locked in the order in which they are posted.

            To accounts of nobody else: stripes of a provider's account may be the same, and be waited for.
            """

            async def work(transaction: Transaction) -> None:
                await post_in(transaction, (first, -1), (available(uuid4()), 1))
                if is_first_try[first]:
                    is_first_try[first] = False
                    await both_hold_one.wait()
                await post_in(transaction, (second, -1), (available(uuid4()), 1))

            return work

        await asyncio.gather(database.run(crossing(ana, ben)), database.run(crossing(ben, ana)))
        return await balance(database, ana), await balance(database, ben)

    assert run(ledger_url, act) == ((98, 0), (98, 0))
    assert ("database_conflicts", "deadlock") in counted
    assert counted.count(("ledger_transfers", "adjustment")) == 4  # none of a transaction that was rolled back
