"""Payouts: from the request to the bank, and back."""

from typing import Any

import pytest

from audifi.core.db.database import Database
from tests.funding.fundings import (
    balances,
    canceling,
    depositing,
    disputing,
    failing,
    funded,
    paying,
    receipt,
    requesting,
    rows,
    run,
    submitting,
)
from tests.ledger.ledgers import available, code_of, freeze


async def requested(database: Database, amount: int = 2500) -> Any:
    user_id, _ = await funded(database, amount)
    return await database.run(requesting(user_id, amount))


def test_payout_is_held_submitted_and_paid(funding_url: str) -> None:
    async def act(database: Database) -> Any:
        payout = await requested(database)
        seen = [(payout.status, await balances(database, payout.user_id))]
        for step in (submitting, paying, paying):
            payout = await database.run(step(payout))
            seen.append((payout.status, await balances(database, payout.user_id)))
        return seen, payout.submitted_at is not None and payout.ended_at is not None

    held, paid = (2500, 2500, 0), (0, 0, 0)
    assert run(funding_url, act) == (
        [("requested", held), ("submitted", held), ("paid", paid), ("paid", paid)],
        True,
    )


@pytest.mark.parametrize("steps", [[canceling], [failing], [submitting, failing], [submitting, failing, failing]])
def test_payout_that_is_not_paid_is_freed(funding_url: str, steps: list[Any]) -> None:
    async def act(database: Database) -> Any:
        payout = await requested(database)
        for step in steps:
            payout = await database.run(step(payout))
        return payout.status, await balances(database, payout.user_id)

    assert run(funding_url, act) == ("canceled" if steps == [canceling] else "failed", (2500, 0, 0))


def test_payout_that_comes_back_is_credited_once(funding_url: str) -> None:
    """The bank reports failure after payment; a late report of the payment changes nothing."""

    async def act(database: Database) -> Any:
        payout = await requested(database)
        for step in (submitting, paying, failing, failing, paying):
            payout = await database.run(step(payout))
        return payout.status, await balances(database, payout.user_id)

    assert run(funding_url, act) == ("failed", (2500, 0, 0))


@pytest.mark.parametrize(
    ("before", "step", "status"),
    [
        ([], paying, "requested"),
        ([submitting], canceling, "submitted"),
        ([submitting], submitting, "submitted"),
        ([submitting, paying], canceling, "paid"),
        ([canceling], canceling, "canceled"),
        ([canceling], submitting, "canceled"),
        ([canceling], paying, "canceled"),
        ([canceling], failing, "canceled"),
        ([failing], submitting, "failed"),
    ],
)
def test_transition_that_does_not_exist_is_refused(funding_url: str, before: list[Any], step: Any, status: str) -> None:
    async def act(database: Database) -> Any:
        payout = await requested(database)
        for each in before:
            payout = await database.run(each(payout))
        counted = await rows(database)
        code = await code_of(database.run(step(payout)))
        assert await rows(database) == counted
        assert payout.status == status
        return code

    assert run(funding_url, act) == "409 payout.status_conflict"


def test_unknown_payout_is_not_found(funding_url: str) -> None:
    async def act(database: Database) -> Any:
        payout = await requested(database)
        other = await requested(database)
        unknown = payout.__class__(**{name: getattr(payout, name) for name in payout.__slots__} | {"id": other.user_id})
        stranger = payout.__class__(
            **{name: getattr(payout, name) for name in payout.__slots__} | {"user_id": other.user_id}
        )
        steps = [submitting(unknown), paying(unknown), failing(unknown), canceling(unknown), canceling(stranger)]
        return {await code_of(database.run(step)) for step in steps}

    assert run(funding_url, act) == {"404 payout.not_found"}


@pytest.mark.parametrize(
    ("amount", "currency", "code"),
    [
        (999, "USD", "422 request.invalid"),
        (9, "JPY", "422 request.invalid"),
        (2501, "USD", "409 balance.insufficient"),
        (1000, "EUR", "409 balance.insufficient"),
    ],
)
def test_refused_request_leaves_no_row(funding_url: str, amount: int, currency: str, code: str) -> None:
    async def act(database: Database) -> Any:
        user_id, _ = await funded(database, 2500)
        before = await rows(database)
        refused = await code_of(database.run(requesting(user_id, amount, currency)))
        assert await rows(database) == before
        return refused

    assert run(funding_url, act) == code


def test_sixth_open_payout_is_refused(funding_url: str) -> None:
    async def act(database: Database) -> Any:
        user_id, _ = await funded(database, 10_000)
        first, *_ = [await database.run(requesting(user_id, 1000)) for _ in range(5)]
        refused = await code_of(database.run(requesting(user_id, 1000)))
        await database.run(canceling(first))
        await database.run(requesting(user_id, 1000))
        return refused

    assert run(funding_url, act) == "409 payout.limit_exceeded"


def test_debt_and_freeze_stop_payouts(funding_url: str) -> None:
    async def act(database: Database) -> Any:
        user_id, owed = await funded(database, 2500)
        payout = await database.run(requesting(user_id, 2000))
        await database.run(disputing(owed, "open", 2500, str(user_id)))
        codes = [
            await code_of(database.run(requesting(user_id, 1000))),
            await code_of(database.run(submitting(payout))),
        ]
        await database.run(depositing(receipt(user_id, 2000)))
        await freeze(database, available(user_id))
        codes.append(await code_of(database.run(submitting(payout))))
        await database.run(failing(payout))
        return codes, await balances(database, user_id)

    assert run(funding_url, act) == (
        ["403 account.in_debt", "403 account.in_debt", "403 account.frozen"],
        (2000, 0, 0),
    )


def test_canceled_payout_pays_the_debt(funding_url: str) -> None:
    async def act(database: Database) -> Any:
        user_id, owed = await funded(database, 2500)
        payout = await database.run(requesting(user_id, 2000))
        await database.run(disputing(owed, "open", 2500, str(user_id)))
        before = await balances(database, user_id)
        await database.run(canceling(payout))
        return before, await balances(database, user_id)

    assert run(funding_url, act) == ((2000, 2000, -2000), (0, 0, 0))


def test_payout_that_comes_back_pays_the_debt_first(funding_url: str) -> None:
    async def act(database: Database) -> Any:
        user_id, owed = await funded(database, 2500)
        payout = await database.run(requesting(user_id, 2000))
        await database.run(submitting(payout))
        await database.run(disputing(owed, "lost", 1000, str(user_id)))
        await database.run(paying(payout))
        before = await balances(database, user_id)
        await database.run(failing(payout))
        return before, await balances(database, user_id)

    assert run(funding_url, act) == ((0, 0, -500), (1500, 0, 0))
