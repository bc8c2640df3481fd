"""Debts: how they arise, what pays them, and what they forbid."""

from typing import Any
from uuid import UUID, uuid4

from audifi.core.db.database import Database
from audifi.ledger import debt
from audifi.ledger.accounts import user_account
from tests.ledger.ledgers import (
    LATER,
    NOW,
    available,
    balance,
    code_of,
    deposit,
    external,
    hold,
    is_refused,
    move,
    post,
    run,
    void,
)


async def charge_back(database: Database, user_id: UUID, amount: int, asset: str = "USD", **values: Any) -> Any:
    values = {"allow_debt": True, "kind": "adjustment"} | values
    return await move(database, available(user_id, asset), external(asset), amount, **values)


async def balances(database: Database, user_id: UUID, asset: str = "USD") -> tuple[int, int]:
    """Return what the user has, and owes."""
    owed = user_account(user_id, "debt", asset)
    return (await balance(database, available(user_id, asset)))[0], (await balance(database, owed))[0]


async def refuse(database: Database, user_id: UUID) -> None:
    async with database.transaction() as transaction:
        await debt.refuse(transaction, user_id=user_id)


def test_what_a_user_lacks_becomes_debt(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana = uuid4()
        await deposit(database, available(ana), 100)
        await hold(database, available(ana), 30)
        await charge_back(database, ana, 50)
        covered = await balances(database, ana)
        await charge_back(database, ana, 50)
        return covered, await balances(database, ana)

    assert run(ledger_url, act) == ((50, 0), (30, -30))  # what is held isn't taken


def test_a_user_without_an_account_can_owe(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana = uuid4()
        await charge_back(database, ana, 40)
        return await balances(database, ana)

    assert run(ledger_url, act) == (0, -40)


def test_whatever_a_user_gets_pays_the_debt_first(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana, ben = uuid4(), uuid4()
        await deposit(database, available(ben), 100)
        await charge_back(database, ana, 50)
        await charge_back(database, ana, 50, "EUR")
        seen = []
        for amount in (20, 45, 5):
            key = str(uuid4())
            for _ in range(2):  # a replay pays nothing again
                await move(database, available(ben), available(ana), amount, key=key)
            seen.append(await balances(database, ana))
        return seen, await balances(database, ana, "EUR")

    assert run(ledger_url, act) == ([(0, -30), (15, 0), (20, 0)], (0, -50))


def test_payment_follows_its_cause_in_the_list_of_transfers(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana = uuid4()
        await charge_back(database, ana, 50)
        paid = await deposit(database, available(ana), 70, kind="deposit")
        later = await deposit(database, available(ana), 1, kind="deposit")
        query = "SELECT id, kind FROM ledger_transfers WHERE id > $1 AND id <= $2 OR key = $3"
        [row] = await database.fetch_sql(query, paid.transfer_id, paid.transfer_id, f"debt_payment:{paid.transfer_id}")
        payment_id, kind = row
        return kind, abs(payment_id.int - paid.transfer_id.int), payment_id < later.transfer_id

    assert run(ledger_url, act) == ("debt_payment", 1, True)


def test_what_a_voided_hold_frees_can_pay(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana = uuid4()
        await deposit(database, available(ana), 100)
        held = await hold(database, available(ana), 80)
        await charge_back(database, ana, 50)
        before = await balances(database, ana)
        await void(database, held.hold_id)
        for _ in range(2):
            async with database.transaction() as transaction:
                await debt.pay(transaction, user_id=ana, asset="USD", now=NOW)
        return before, await balances(database, ana)

    assert run(ledger_url, act) == ((80, -30), (50, 0))


def test_user_in_debt_is_refused_until_it_is_paid(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana = uuid4()
        await refuse(database, ana)
        await charge_back(database, ana, 50, "EUR")
        refused = await code_of(refuse(database, ana))
        await deposit(database, available(ana, "EUR"), 50)
        await refuse(database, ana)
        return refused

    assert run(ledger_url, act) == "403 account.in_debt"


def test_debt_is_never_above_zero(ledger_url: str) -> None:
    async def act(database: Database) -> None:
        with is_refused("23514"):
            await post(database, (user_account(uuid4(), "debt", "USD"), 1), (external(), -1))

    run(ledger_url, act)


def test_overdraft_without_consent_is_refused(ledger_url: str) -> None:
    async def act(database: Database) -> Any:
        ana = uuid4()
        await deposit(database, available(ana), 100)
        return await code_of(charge_back(database, ana, 101, allow_debt=False, now=LATER))

    assert run(ledger_url, act) == "409 balance.insufficient"
