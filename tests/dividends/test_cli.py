"""The commands `python -m audifi dividends`, and what is measured."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

from typer.testing import CliRunner

from audifi.cli import app as console
from audifi.core.db.database import Database
from audifi.dividends.feature import FEATURE
from audifi.services import build_services
from tests.dividends.stages import Stage, run
from tests.ledger.ledgers import NOW
from tests.support import databases
from tests.support.app import EVERY_ROW, App


def dividends(url: str, *arguments: str) -> str:
    variables = {"DATABASE_URL": url, "AUDIFI_OPERATOR": "kim", "FORCE_COLOR": None, "COLUMNS": "400"}
    result = CliRunner().invoke(console, ["dividends", *arguments], env=variables)
    return f"{result.stdout}{result.stderr}".strip()


def test_operator_lists_and_cancels_distributions(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        return (await stage.declare(1234)).id

    declared = str(run(dividends_url, act))

    [line] = [line for line in dividends(dividends_url, "distributions", *EVERY_ROW).splitlines() if declared in line]
    assert "12.34" in line
    assert "6.17" in line
    assert dividends(dividends_url, "cancel", declared, "--reason", "wrong month") == f"{declared} is canceled."
    assert dividends(dividends_url, "cancel", declared, "--reason", "again") == (
        f"{declared}: Distribution not declared."
    )
    shown = dividends(dividends_url, "distributions", *EVERY_ROW, "--status", "canceled")
    assert all(text in shown for text in (declared, "kim", "wrong month"))
    assert declared not in dividends(dividends_url, "distributions", *EVERY_ROW, "--status", "declared")


def test_schedules_post_distributions_and_measure_pools(migrated_database_url: str, app: App) -> None:
    async def act(database: Database) -> None:
        stage = await Stage(database).open(1)
        await stage.declare(100)

    run(migrated_database_url, act)
    database_url = databases.settings_for(migrated_database_url).database_url
    services = build_services(
        app.services.settings.model_copy(update={"database_url": database_url}), clock=lambda: NOW
    )

    async def run_schedules() -> None:
        async with services.background_database:
            for schedule in FEATURE.schedules(services):
                await schedule.run()

    asyncio.run(run_schedules())

    value = services.metrics.registry.get_sample_value("dividend_unclaimed_units", {"currency": "USD"})
    assert value == 50


def test_late_distribution_is_measured(migrated_database_url: str, app: App) -> None:
    async def act(database: Database) -> None:
        stage = await Stage(database).open(1)
        await stage.declare(100, notice=timedelta(hours=1))

    run(migrated_database_url, act)
    database_url = databases.settings_for(migrated_database_url).database_url
    settings = app.services.settings.model_copy(update={"database_url": database_url})

    async def measure(now: datetime) -> float | None:
        services = build_services(settings, clock=lambda: now)
        async with services.background_database:
            [schedule] = [each for each in FEATURE.schedules(services) if each.name == "dividend_metrics"]
            await schedule.run()
        return services.metrics.registry.get_sample_value("distribution_delay_seconds")

    assert [asyncio.run(measure(NOW + timedelta(minutes=minutes))) for minutes in (59, 70)] == [0, 600]
