"""What the ledger does at certain times."""

from typing import Any
from uuid import uuid4

from audifi.core.db.database import Database
from audifi.ledger.accounts import AccountRef, platform_account, provider_account
from audifi.ledger.jobs import expire_holds, schedules, sweep_stripes
from audifi.ledger.measures import OPEN_HOLDS
from audifi.services import build_services
from tests.ledger.ledgers import NOW, available, balance, deposit, hold, move, post, run
from tests.support.app import App

STRIPES = """
SELECT stripe, posted FROM ledger_accounts JOIN ledger_assets ON ledger_assets.id = asset_id
    WHERE owner_id IS NOT DISTINCT FROM $1 AND purpose = $2 AND code = 'NZD' AND posted <> 0
"""


def test_stripes_are_swept_into_the_first_one(migrated_database_url: str) -> None:
    async def act(database: Database) -> Any:
        source = provider_account("operator", "external", "NZD")
        for _ in range(12):
            account = available(uuid4(), "NZD")
            await post(database, (source, -10), (account, 9), (platform_account("fees", "NZD"), 1))
        await sweep_stripes(database, now=NOW)
        await move(database, source, available(uuid4(), "NZD"), 5)
        await sweep_stripes(database, now=NOW)
        external = {row[0]: row[1] for row in await database.fetch_sql(STRIPES, source.owner_id, "external")}
        fees = {row[0]: row[1] for row in await database.fetch_sql(STRIPES, None, "fees")}
        return external, fees

    assert run(migrated_database_url, act) == ({0: -125}, {0: 12})


def test_refund_from_a_swept_stripe_is_possible(migrated_database_url: str) -> None:
    """A stripe may be below zero until the next sweep: what counts is the sum."""

    async def act(database: Database) -> Any:
        fees = platform_account("fees", "NZD")
        ana = available(uuid4(), "NZD")
        await move(database, provider_account("operator", "external", "NZD"), fees, 5)
        await sweep_stripes(database, now=NOW)
        await move(database, AccountRef("platform", None, "fees", "NZD", 7), ana, 5)
        return sum(row[1] for row in await database.fetch_sql(STRIPES, None, "fees"))

    assert run(migrated_database_url, act) == 0


def test_many_holds_expire_in_batches(migrated_database_url: str) -> None:
    async def act(database: Database) -> Any:
        account = available(uuid4())
        await deposit(database, account, 1000)
        await database.fetch_sql(
            "INSERT INTO ledger_holds (id, account_id, amount, key, purpose, expires_at, created_at)"
            " SELECT gen_random_uuid(), ledger_account_id_v1($1), 1, n, 'payout', $2, $2"
            " FROM generate_series(1, 501) AS n",
            account.address,
            NOW,
        )
        assert await balance(database, account) == (1000, 501)
        assert await expire_holds(database, now=NOW) == 0
        return await balance(database, account)

    assert run(migrated_database_url, act) == (1000, 0)


def test_schedules_expire_holds_and_sweep(app: App) -> None:
    services = build_services(app.services.settings)  # for this event loop

    async def act(database: Database) -> Any:
        account = available(uuid4())
        await deposit(database, account, 100)
        await hold(database, account, 60, expires_at=NOW)
        services.metrics.set(OPEN_HOLDS, -1)
        async with services.background_database:
            for schedule in schedules(services):
                await schedule.run()
        return await balance(database, account)

    assert run(app.database_url, act) == (100, 0)
    assert services.metrics.registry.get_sample_value("ledger_holds_open") != -1
