"""Two transactions at once, in both orders: what decides."""

from typing import Any
from uuid import uuid4

from audifi.core.db.database import Database
from tests.funding.fundings import (
    balances,
    booking_own,
    canceling,
    depositing,
    disputing,
    failing,
    funded,
    new_user,
    paying,
    receipt,
    requesting,
    run,
    submitting,
)
from tests.support.races import order, race

__all__ = ["order"]


def test_cancel_and_submit_of_one_payout(funding_url: str, order: str) -> None:
    async def act(database: Database) -> Any:
        user_id, _ = await funded(database, 2500)
        payout = await database.run(requesting(user_id, 2500))
        results = await race(database, order=order, steps=(canceling(payout), submitting(payout)))
        return results, (await balances(database, user_id))[1]

    held = 0 if order == "one first" else 2500
    assert run(funding_url, act) == (["done", "payout.status_conflict"], held)


def test_two_submits_of_one_payout(funding_url: str, order: str) -> None:
    async def act(database: Database) -> Any:
        user_id, _ = await funded(database, 2500)
        payout = await database.run(requesting(user_id, 2500))
        return await race(database, order=order, steps=(submitting(payout), submitting(payout)))

    assert run(funding_url, act) == ["done", "payout.status_conflict"]


def test_paid_and_failed_of_one_payout(funding_url: str, order: str) -> None:
    async def act(database: Database) -> Any:
        user_id, _ = await funded(database, 2500)
        payout = await database.run(requesting(user_id, 2500))
        await database.run(submitting(payout))
        results = await race(database, order=order, steps=(paying(payout), failing(payout)))
        return results, await balances(database, user_id)

    assert run(funding_url, act) == (["done", "done"], (2500, 0, 0))


def test_one_deposit_reported_twice(funding_url: str, order: str) -> None:
    async def act(database: Database) -> Any:
        money = receipt(await new_user(database), 2500)
        results = await race(database, order=order, steps=(depositing(money), depositing(money)))
        return results, await balances(database, money.user_id)

    assert run(funding_url, act) == (["done", "done"], (2500, 0, 0))


def test_two_disputes_of_one_deposit(funding_url: str, order: str) -> None:
    async def act(database: Database) -> Any:
        user_id, deposit = await funded(database, 2500)
        steps = (disputing(deposit, "open", 2500, str(uuid4())), disputing(deposit, "open", 1000, str(uuid4())))
        results = await race(database, order=order, steps=steps)
        return results, await balances(database, user_id)

    left = 0 if order == "one first" else 1500
    assert run(funding_url, act) == (["done", "dispute.amount_exceeded"], (left, 0, 0))


def test_one_dispute_reported_as_lost_and_won(funding_url: str, order: str) -> None:
    async def act(database: Database) -> Any:
        user_id, deposit = await funded(database, 2500)
        reference = str(uuid4())
        steps = (disputing(deposit, "lost", 2500, reference), disputing(deposit, "won", 2500, reference))
        return await race(database, order=order, steps=steps), await balances(database, user_id)

    assert run(funding_url, act) == (["done", "done"], (2500, 0, 0))


def test_two_requests_for_the_last_open_payout(funding_url: str, order: str) -> None:
    async def act(database: Database) -> Any:
        user_id, _ = await funded(database, 10_000)
        for _ in range(4):
            await database.run(requesting(user_id, 1000))
        return await race(database, order=order, steps=(requesting(user_id, 1000), requesting(user_id, 1000)))

    assert run(funding_url, act) == ["done", "payout.limit_exceeded"]


def test_dispute_and_payout_of_one_balance(funding_url: str, order: str) -> None:
    async def act(database: Database) -> Any:
        user_id, deposit = await funded(database, 2500)
        steps = (disputing(deposit, "open", 2500, str(uuid4())), requesting(user_id, 2500))
        return await race(database, order=order, steps=steps), await balances(database, user_id)

    expected = (["done", "balance.insufficient"], (0, 0, 0))
    if order == "other first":
        expected = (["done", "done"], (2500, 2500, -2500))
    assert run(funding_url, act) == expected


def test_deposit_and_dispute_that_makes_a_debt(funding_url: str, order: str) -> None:
    """Whichever is first, the deposit pays what the dispute leaves owing."""

    async def act(database: Database) -> Any:
        user_id, deposit = await funded(database, 2500)
        await database.run(requesting(user_id, 2000))
        steps = (disputing(deposit, "open", 2500, str(uuid4())), depositing(receipt(user_id, 2200)))
        return await race(database, order=order, steps=steps), await balances(database, user_id)

    assert run(funding_url, act) == (["done", "done"], (2200, 2000, 0))


def test_two_deposits_at_the_daily_limit(funding_url: str, order: str) -> None:
    async def act(database: Database) -> Any:
        user_id = await new_user(database)
        results = await race(
            database, order=order, steps=(booking_own(user_id, 600_000), booking_own(user_id, 500_000))
        )
        return results, (await balances(database, user_id))[0]

    left = 600_000 if order == "one first" else 500_000
    assert run(funding_url, act) == (["done", "deposit.limit_exceeded"], left)
