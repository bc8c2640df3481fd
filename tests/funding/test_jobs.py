"""The job that sends and asks for payouts."""

import logging
from datetime import timedelta
from typing import Any

import pytest

from audifi.core.db.database import Database
from audifi.funding.jobs import BATCH, payout_ages, process_payouts, schedules
from audifi.funding.payouts import MAX_OPEN, PayoutRow
from audifi.funding.providers import Answer, DevelopmentProvider
from audifi.services import build_services
from tests.funding.fundings import balances, disputing, funded, requesting, run, submitting
from tests.ledger.ledgers import NOW
from tests.support.app import App


class Provider:
    """Says what the test says."""

    def __init__(self, *answers: Answer | Exception | None) -> None:
        self.answers = list(answers)
        self.calls: list[str] = []

    def answer(self, call: str) -> Any:
        self.calls.append(call)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def send(self, _payout: PayoutRow) -> Answer:
        answer: Answer = self.answer("send")
        return answer

    async def find(self, _payout: PayoutRow) -> Answer | None:
        answer: Answer | None = self.answer("find")
        return answer


async def process(database: Database, provider: Any) -> None:
    await process_payouts(database, provider, name="operator", now=NOW)


def test_submitted_payout_is_asked_for_until_it_ends(migrated_database_url: str) -> None:
    provider = Provider(
        TimeoutError(), None, OSError(), Answer(status="submitted"), Answer(status="paid", reference="po_1")
    )

    async def act(database: Database) -> Any:
        user_id, _ = await funded(database, 2500)
        await database.run(requesting(user_id, 2500))
        held = []
        for _ in range(6):
            await process(database, provider)
            held.append((await balances(database, user_id))[1])
        reference = await database.fetch_sql("SELECT provider_ref FROM payouts WHERE user_id = $1", user_id)
        return held, reference[0][0]

    assert run(migrated_database_url, act) == ([2500, 2500, 2500, 2500, 0, 0], "po_1")
    assert provider.calls == ["send", "find", "find", "find", "find"]


def test_one_payout_does_not_keep_others_waiting(migrated_database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def act(database: Database) -> Any:
        indebted, owed = await funded(database, 2500)
        await database.run(requesting(indebted, 2000))
        await database.run(disputing(owed, "open", 2500, str(indebted)))
        unlucky, _ = await funded(database, 2500)
        await database.run(requesting(unlucky, 2500))
        lucky, _ = await funded(database, 2500)
        await database.run(requesting(lucky, 2500))
        await process(database, Provider(OSError("secret"), Answer(status="paid")))
        return [(await balances(database, user_id))[1] for user_id in (indebted, unlucky, lucky)]

    assert run(migrated_database_url, act) == [2000, 2500, 0]
    assert "payout not sent: id=" in caplog.text
    assert "code=account.in_debt" in caplog.text
    assert "payout without answer: id=" in caplog.text


def test_payouts_in_transit_do_not_keep_others_waiting(migrated_database_url: str) -> None:
    provider = Provider(*[None] * BATCH, Answer(status="paid"))

    async def act(database: Database) -> Any:
        for _ in range(BATCH // MAX_OPEN):
            user_id, _ = await funded(database, MAX_OPEN * 1000)
            for _ in range(MAX_OPEN):
                await database.run(submitting(await database.run(requesting(user_id, 1000))))
        last, _ = await funded(database, 1000)
        await database.run(requesting(last, 1000))
        await process(database, provider)
        return await balances(database, last)

    assert run(migrated_database_url, act) == (0, 0, 0)


def test_age_is_of_the_oldest_open_payout(migrated_database_url: str) -> None:
    async def act(database: Database) -> Any:
        user_id, _ = await funded(database, 5000)
        none = await payout_ages(database, now=NOW)
        payout = await database.run(requesting(user_id, 2000))
        await database.run(requesting(user_id, 1000))
        requested = await payout_ages(database, now=NOW + timedelta(minutes=2))
        await database.run(submitting(payout))
        return none, requested, await payout_ages(database, now=NOW + timedelta(minutes=3))

    assert run(migrated_database_url, act) == (
        {"requested": 0, "submitted": 0},
        {"requested": 120, "submitted": 0},
        {"requested": 180, "submitted": 180},
    )


def test_development_pays_at_once(migrated_database_url: str) -> None:
    async def act(database: Database) -> Any:
        user_id, _ = await funded(database, 5000)
        await database.run(requesting(user_id, 2000))
        submitted = await database.run(requesting(user_id, 1000))
        await database.run(submitting(submitted))
        await process(database, DevelopmentProvider())
        return await balances(database, user_id)

    assert run(migrated_database_url, act) == (2000, 0, 0)


@pytest.mark.parametrize(("funding", "ended"), [("operator", False), ("development", True)])
def test_schedule_sends_where_a_provider_is_called(app: App, funding: str, *, ended: bool) -> None:
    settings = app.services.settings.model_copy(update={"funding": funding})
    services = build_services(settings)

    async def act(database: Database) -> Any:
        user_id, _ = await funded(database, 2500)
        payout = await database.run(requesting(user_id, 2500))
        await database.fetch_sql("UPDATE payouts SET provider = $2 WHERE id = $1", payout.id, funding)
        async with services.background_database:
            [schedule] = schedules(services)
            await schedule.run()
        return (await balances(database, user_id))[1] == 0

    assert run(app.database_url, act) is ended
    age = services.metrics.registry.get_sample_value("payouts_age_seconds", {"status": "requested"})
    assert ended or age != 0
