"""Holds: reserved amounts that a transfer uses, or that are freed."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from audifi.core.db.database import Database
from audifi.core.http.problems import Problem
from audifi.ledger.accounts import AccountRef
from audifi.ledger.jobs import expire_holds
from tests.ledger.ledgers import (
    LATER,
    NOW,
    available,
    balance,
    code_of,
    counts,
    deposit,
    external,
    freeze,
    hold,
    move,
    run,
    void,
)


async def funded(database: Database, amount: int = 100) -> AccountRef:
    account = available(uuid4())
    await deposit(database, account, amount)
    return account


def test_held_amount_cannot_be_spent(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana = await funded(database)
        await hold(database, ana, 80)
        with pytest.raises(Problem, check=lambda problem: problem.extensions == {"missing": 5}):
            await move(database, ana, external(), 25)
        await move(database, ana, external(), 20)
        return await balance(database, ana)

    assert run(ledger_url, act) == (80, 80)


def test_hold_beyond_the_balance_leaves_no_row(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana = await funded(database)
        await hold(database, ana, 80)
        before = await counts(database)
        with pytest.raises(Problem, check=lambda problem: problem.extensions == {"missing": 1}):
            await hold(database, ana, 21)
        with pytest.raises(Problem, check=lambda problem: problem.extensions == {"missing": 7}):
            await hold(database, available(uuid4()), 7)  # an account that was never opened
        return before == await counts(database)

    assert run(ledger_url, act)


def test_frozen_account_cannot_be_held(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana = await funded(database)
        await freeze(database, ana)
        return await code_of(hold(database, ana, 1))

    assert run(ledger_url, act) == "403 account.frozen"


def test_same_hold_key_returns_the_first_hold(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana, key = await funded(database), str(uuid4())
        first, again = await hold(database, ana, 80, key=key), await hold(database, ana, 80, key=key)
        assert (first.is_replay, again.is_replay) == (False, True)
        assert first.hold_id == again.hold_id
        return await code_of(hold(database, ana, 81, key=key)), await balance(database, ana)

    assert run(ledger_url, act) == ("409 hold.key_reused", (100, 80))


def test_settled_hold_pays_and_frees_the_rest(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana = await funded(database)
        held = await hold(database, ana, 80)
        key = str(uuid4())
        paid = await move(database, ana, external(), 50, settles=held.hold_id, key=key)
        again = await move(database, ana, external(), 50, settles=held.hold_id, key=key)
        assert (again.transfer_id, again.is_replay) == (paid.transfer_id, True)
        second = await code_of(move(database, ana, external(), 50, settles=held.hold_id))
        voided = await code_of(void(database, held.hold_id))
        return second, voided, await balance(database, ana)

    assert run(ledger_url, act) == ("409 hold.not_open", "409 hold.not_open", (50, 0))


@pytest.mark.parametrize("amount", [81, -1])
def test_hold_gives_no_more_than_it_holds(ledger_url: str, amount: int) -> None:
    async def act(database: Database) -> Any:
        ana = await funded(database)
        held = await hold(database, ana, 80)
        before = await counts(database)
        refused = await code_of(move(database, ana, external(), amount, settles=held.hold_id))
        return refused, before == await counts(database), await balance(database, ana)

    assert run(ledger_url, act) == ("409 hold.amount_exceeded", True, (100, 80))


def test_hold_of_another_account_is_refused(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana, ben = await funded(database), await funded(database)
        held = await hold(database, ana, 80)
        return await code_of(move(database, ben, external(), 50, settles=held.hold_id))

    assert run(ledger_url, act) == "409 hold.amount_exceeded"


def test_voided_hold_is_spendable_again(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana = await funded(database)
        held = await hold(database, ana, 80)
        await void(database, held.hold_id)
        again = await code_of(void(database, held.hold_id))
        settled = await code_of(move(database, ana, external(), 50, settles=held.hold_id))
        return again, settled, await balance(database, ana)

    assert run(ledger_url, act) == ("409 hold.not_open", "409 hold.not_open", (100, 0))


def test_unknown_hold_is_not_open(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana = await funded(database)
        return await code_of(void(database, uuid4())), await code_of(
            move(database, ana, external(), 1, settles=uuid4())
        )

    assert run(ledger_url, act) == ("409 hold.not_open", "409 hold.not_open")


def test_expired_hold_is_unusable_before_its_sweep(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana = await funded(database)
        held, longer = (
            await hold(database, ana, 60),
            await hold(database, ana, 10, expires_at=LATER + timedelta(days=1)),
        )
        open_holds = await expire_holds(database, now=NOW)
        settled = await code_of(move(database, ana, external(), 50, settles=held.hold_id, now=LATER))
        voided = await code_of(void(database, held.hold_id, now=LATER))
        assert await balance(database, ana) == (100, 70)
        assert await expire_holds(database, now=LATER) < open_holds
        assert await balance(database, ana) == (100, 10)
        await void(database, longer.hold_id)
        return settled, voided

    assert run(ledger_url, act) == ("409 hold.not_open", "409 hold.not_open")
