"""Raw SQL as the application's role, which owns the tables, can't break an invariant of the ledger."""

from typing import Any

import pytest

from audifi.core.db.database import Database
from tests.ledger.ledgers import counts, is_refused, run

NO_CHANGE = "23001"  # restrict_violation
INVALID = "LG006"
SHORT = "LG001"
FOREIGN_KEY = "23503"

ANA = "(SELECT id FROM ledger_accounts WHERE purpose = 'available' AND posted = 60)"
BEN = "(SELECT id FROM ledger_accounts WHERE purpose = 'available' AND posted = 40)"
FIRST = "(SELECT transfer_id FROM ledger_entries WHERE amount = 100)"
NEW = (
    "INSERT INTO ledger_transfers (id, kind, key, hash, reference, occurred_at, created_at)"
    " VALUES ('00000000-0000-7000-8000-000000000001', 'raw', 'raw', '', '', now(), now());"
)


def entry(account: str, amount: int, balance_after: int, version: int, *, asset: str = "USD", at: str = "now()") -> str:
    return (
        f"('00000000-0000-7000-8000-000000000001'::uuid, {account},"
        f" (SELECT id FROM ledger_assets WHERE code = '{asset}'), {amount}::bigint,"
        f" {balance_after}::bigint, {version}::bigint, {at})"
    )


def entries(*rows: str) -> str:
    return f"{NEW} INSERT INTO ledger_entries VALUES {', '.join(rows)}"


ATTACKS = {
    "change a balance": ("UPDATE ledger_accounts SET posted = posted + 1", NO_CHANGE),
    "change what is held": ("UPDATE ledger_accounts SET held = 0", NO_CHANGE),
    "change a version": ("UPDATE ledger_accounts SET version = version + 1", NO_CHANGE),
    "lower a floor": ("UPDATE ledger_accounts SET floor = -1000", NO_CHANGE),
    "swap two balances": (f"UPDATE ledger_accounts SET posted = 100 - posted WHERE id IN ({ANA}, {BEN})", NO_CHANGE),
    "change a balance by upsert": (
        "INSERT INTO ledger_accounts SELECT * FROM ledger_accounts ON CONFLICT (id) DO UPDATE SET posted = 1000",
        NO_CHANGE,
    ),
    "change a balance by merge": (
        (
            "MERGE INTO ledger_accounts AS a USING ledger_accounts AS b ON a.id = b.id"
            " WHEN MATCHED THEN UPDATE SET posted = 1000"
        ),
        NO_CHANGE,
    ),
    "give an account to another": (
        f"UPDATE ledger_accounts SET owner_id = gen_random_uuid() WHERE id = {ANA}",
        NO_CHANGE,
    ),
    "delete an account": (f"DELETE FROM ledger_accounts WHERE id = {ANA}", FOREIGN_KEY),
    "truncate accounts": ("TRUNCATE ledger_accounts CASCADE", NO_CHANGE),
    "change an entry": ("UPDATE ledger_entries SET amount = amount * 2", NO_CHANGE),
    "delete entries": ("DELETE FROM ledger_entries", NO_CHANGE),
    "truncate entries": ("TRUNCATE ledger_entries", NO_CHANGE),
    "change a transfer": ("UPDATE ledger_transfers SET reason = 'x'", NO_CHANGE),
    "delete transfers": ("DELETE FROM ledger_transfers", NO_CHANGE),
    "truncate transfers": ("TRUNCATE ledger_transfers CASCADE", NO_CHANGE),
    "rename an asset": ("UPDATE ledger_assets SET code = 'XXX' WHERE code = 'USD'", NO_CHANGE),
    "drop the floors": ("UPDATE ledger_purposes SET floor = NULL", NO_CHANGE),
    "insert one entry": (entries(entry(ANA, 40, 100, 3)), INVALID),
    "insert a balance that doesn't follow": (entries(entry(ANA, 40, 100, 3), entry(BEN, -40, 1000, 2)), INVALID),
    "skip a version": (entries(entry(ANA, 40, 100, 4), entry(BEN, -40, 0, 2)), INVALID),
    "go back in time": (
        entries(entry(ANA, 40, 100, 3, at="'2020-01-01'"), entry(BEN, -40, 0, 2, at="'2020-01-01'")),
        INVALID,
    ),
    "overdraw": (entries(entry(ANA, 41, 101, 3), entry(BEN, -41, -1, 2)), SHORT),
    "spend what is held": (entries(entry(ANA, -60, 0, 3), entry(BEN, 60, 100, 2)), SHORT),
    "entries in another asset": (
        entries(entry(ANA, 40, 100, 3, asset="EUR"), entry(BEN, -40, 0, 2, asset="EUR")),
        FOREIGN_KEY,
    ),
    "two entries of an account": (
        entries(entry(ANA, 40, 100, 3), entry(BEN, -20, 20, 2), entry(BEN, -20, 0, 3)),
        "23505",
    ),
    "entries in two statements": (
        (
            f"{entries(entry(ANA, 40, 100, 3), entry(BEN, -40, 0, 2))}; INSERT INTO ledger_entries SELECT"
            " '00000000-0000-7000-8000-000000000001', id, asset_id, 1, posted + 1, version + 1, now()"
            " FROM ledger_accounts WHERE purpose = 'external' LIMIT 1"
        ),
        INVALID,
    ),
    "more entries of a transfer": (
        (
            f"INSERT INTO ledger_entries SELECT {FIRST}, id, asset_id, CASE posted WHEN 40 THEN -1 ELSE 1 END,"
            " CASE posted WHEN 40 THEN 39 ELSE 6 END, version + 1, now() FROM ledger_accounts WHERE posted IN (40, 5)"
        ),
        INVALID,
    ),
    "delete an open hold": ("DELETE FROM ledger_holds", NO_CHANGE),
    "truncate holds": ("TRUNCATE ledger_holds CASCADE", NO_CHANGE),
    "lower a hold": ("UPDATE ledger_holds SET amount = 1", NO_CHANGE),
    "hold another account": (f"UPDATE ledger_holds SET account_id = {BEN}", NO_CHANGE),
    "open a hold again": (
        "UPDATE ledger_holds SET status = 'voided'; UPDATE ledger_holds SET status = 'open'",
        NO_CHANGE,
    ),
    "hold more than there is": (
        (
            f"INSERT INTO ledger_holds (id, account_id, amount, key, purpose, expires_at, created_at)"
            f" VALUES (gen_random_uuid(), {ANA}, 51, 'raw', 'raw', now(), now())"
        ),
        "LG001",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_raw_sql_is_refused(filled_url: str, attack: str) -> None:
    statements, sqlstate = ATTACKS[attack]

    async def act(database: Database) -> Any:
        before = await counts(database)
        async with database.connection() as connection:
            with is_refused(sqlstate):
                await connection.execute(statements)
        return before == await counts(database)

    assert run(filled_url, act)


async def execute(database: Database, statements: str) -> None:
    async with database.connection() as connection:
        await connection.execute(statements)


def test_raw_entries_that_hold_move_the_balances(filled_url: str) -> None:
    """An inserted entry moves its balance, even without the ledger's function."""

    async def act(database: Database) -> Any:
        await execute(database, entries(entry(ANA, 40, 100, 3), entry(BEN, -40, 0, 2)))
        return await database.fetch_sql("SELECT posted FROM ledger_accounts WHERE purpose = 'available' ORDER BY 1")

    assert [row[0] for row in run(filled_url, act)] == [0, 5, 100]


def test_raw_change_of_a_hold_changes_what_is_held(filled_url: str) -> None:
    async def act(database: Database) -> Any:
        await execute(database, "UPDATE ledger_holds SET status = 'voided'; DELETE FROM ledger_holds")
        return await database.fetch_sql("SELECT sum(held) FROM ledger_accounts")

    assert run(filled_url, act)[0][0] == 0


def test_raw_account_opens_empty_and_with_its_floor(filled_url: str) -> None:
    async def act(database: Database) -> Any:
        return await database.fetch_sql(
            "INSERT INTO ledger_accounts (id, owner_kind, owner_id, purpose, asset_id, stripe, posted, held, floor,"
            " version, accrues, created_at) SELECT gen_random_uuid(), 'user', gen_random_uuid(), 'available', id, 0,"
            " 1000, 0, -1000, 7, true, now() FROM ledger_assets WHERE code = 'USD'"
            " RETURNING posted, held, floor, version, accrues"
        )

    assert [tuple(row) for row in run(filled_url, act)] == [(0, 0, 0, 0, False)]
