"""Revenue from its record to its distribution, and what is refused on the way."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from audifi.core.db.database import Database
from audifi.core.http.problems import Problem
from audifi.dividends import distributions, queries
from audifi.dividends.distributions import DistributionRow
from audifi.dividends.revenue import Actor
from audifi.ledger import service
from audifi.ledger.accounts import user_account
from tests.dividends.stages import Stage, Step, refusal, run
from tests.ledger.ledgers import NOW, balance, external, freeze
from tests.support.races import order, race

__all__ = ["order"]

DAY = timedelta(days=1)


def canceling(declared: DistributionRow) -> Step:
    return lambda tx: distributions.cancel(tx, distribution_id=declared.id, operator="kim", reason="wrong month")


def test_same_reference_is_recorded_once_per_offering(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        stage, other = await Stage(database).open(1), await Stage(database).open(1)
        await stage.record(10, reference="March")
        await other.record(10, reference="March")
        return await refusal(stage.record(20, reference="March"))

    assert run(dividends_url, act) == "revenue.duplicate"


def test_artist_funds_from_the_available_balance(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        artist = Actor(user_id=stage.artist)
        event_id = await stage.record(100)
        processing = stage.processing(event_id, by=artist, receipt=None)
        short = await refusal(database.run(processing))
        await stage.fund_artist(100)
        declared = await database.run(processing)
        return short, await stage.money(stage.artist), await stage.kept(), declared.holders

    assert run(dividends_url, act) == ("balance.insufficient", 0, 100, 50)


def test_admin_funds_from_a_receipt(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        before = (await balance(database, external()))[0]
        await stage.declare(100)
        return before - (await balance(database, external()))[0], await stage.kept()

    assert run(dividends_url, act) == (100, 100)


def test_only_admins_name_a_receipt_and_they_must(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        event_id = await stage.record(100)
        artist, stranger = Actor(user_id=stage.artist), Actor(user_id=uuid4())
        return [
            await refusal(database.run(stage.processing(event_id, by=artist))),
            await refusal(database.run(stage.processing(event_id, by=stranger))),
            await refusal(database.run(stage.processing(event_id, receipt=None))),
            await refusal(database.run(stage.processing(uuid4()))),
            await stage.status_of(event_id),
        ]

    assert run(dividends_url, act) == ["role.insufficient", "not_found", "request.invalid", "not_found", "recorded"]


def test_live_offering_and_suspended_master_distribute_nothing(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        live, suspended = await Stage(database).open(1, status="live"), await Stage(database).open(1)
        await suspended.suspend()
        return [await refusal(stage.declare(100)) for stage in (live, suspended)]

    assert run(dividends_url, act) == ["ipo.live", "master.suspended"]


def test_suspension_stops_distributions_and_not_claims(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        [ana] = stage.holders
        await stage.distribute(20)
        await stage.declare(40)
        await stage.suspend()
        await distributions.post_due(database, now=NOW)
        paid = await stage.claim(ana), await stage.claim(ana)
        await stage.suspend(suspended=False)
        await distributions.post_due(database, now=NOW)
        return *paid, await stage.claim(ana)

    assert run(dividends_url, act) == ([10], [], [20])


def test_distribution_waits_for_its_record_time(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        [ana] = stage.holders
        declared = await stage.declare(20, notice=DAY)
        nexts = await queries.next_record_at(database, ipo_ids=[stage.ipo_id, uuid4()])
        await distributions.post_due(database, now=NOW + DAY - timedelta(seconds=1))
        early = await stage.claim(ana)
        for _ in range(2):  # a job may run twice
            await distributions.post_due(database, now=NOW + DAY)
        return declared.record_at - NOW, nexts == {stage.ipo_id: NOW + DAY}, early, await stage.claim(ana)

    assert run(dividends_url, act) == (DAY, True, [], [10])


@pytest.mark.parametrize("record_at", [NOW + DAY - timedelta(seconds=1), NOW + timedelta(days=90, seconds=1)])
def test_record_time_is_within_the_notice_and_90_days(dividends_url: str, record_at: Any) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        event_id = await stage.record(20)
        with pytest.raises(Problem) as raised:
            await database.run(stage.processing(event_id, record_at=record_at, notice=DAY))
        allowed = await database.run(stage.processing(event_id, record_at=NOW + DAY, notice=DAY))
        return raised.value.errors[0].pointer, allowed.record_at

    assert run(dividends_url, act) == ("/record_at", NOW + DAY)


def test_revenue_without_a_unit_for_holders_is_refused(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        event_id = await stage.record(1)
        return await refusal(database.run(stage.processing(event_id))), await stage.status_of(event_id)

    assert run(dividends_url, act) == ("distribution.nothing", "recorded")


def test_canceled_distribution_frees_its_revenue(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        [ana] = stage.holders
        event_id = await stage.record(60)
        first = await database.run(stage.processing(event_id))
        declared = await refusal(database.run(stage.processing(event_id)))
        canceled = await database.run(canceling(first))
        again = await refusal(database.run(canceling(first)))
        posted = await database.run(stage.posting(first))
        # The next declaration takes it along.
        second = await stage.declare(40)
        await database.run(stage.posting(second))
        return declared, canceled.status, again, posted, second.gross, await stage.claim(ana)

    assert run(dividends_url, act) == (
        "revenue.declared",
        "canceled",
        "distribution.not_declared",
        False,
        100,
        [50],
    )


def test_funded_revenue_is_declared_without_paying_twice(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        event_id = await stage.record(60)
        first = await database.run(stage.processing(event_id))
        await database.run(canceling(first))
        second = await database.run(stage.processing(event_id, by=Actor(user_id=stage.artist), receipt=None))
        return second.gross, await stage.kept()

    assert run(dividends_url, act) == (60, 60)


def test_void_gives_the_money_back_to_its_payer(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        artist = Actor(user_id=stage.artist)
        await stage.fund_artist(30)
        paid, seen, unpaid = await stage.record(30), await stage.record(40), await stage.record(50)
        first = await database.run(stage.processing(paid, by=artist, receipt=None))
        second = await database.run(stage.processing(seen))
        declared = await refusal(database.run(stage.voiding(paid)))
        for each in (first, second):
            await database.run(canceling(each))
        of_receipt = await refusal(database.run(stage.voiding(seen, artist)))
        for event_id in (paid, seen, unpaid):
            await database.run(stage.voiding(event_id))
        refused = [
            await refusal(database.run(stage.voiding(paid))),
            await refusal(database.run(stage.processing(paid))),
        ]
        return declared, of_receipt, refused, await stage.money(stage.artist), await stage.kept()

    assert run(dividends_url, act) == (
        "revenue.declared",
        "role.insufficient",
        ["revenue.voided", "revenue.voided"],
        30,
        0,
    )


def test_distributed_revenue_stays(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        event_id = await stage.record(20)
        await database.run(stage.posting(await database.run(stage.processing(event_id))))
        [row] = await database.fetch_sql("SELECT transfer_id FROM distributions WHERE ipo_id = $1", stage.ipo_id)

        def reversing(tx: Any) -> Any:
            return service.reverse(tx, transfer_id=row[0], reason="a mistake", now=NOW)

        steps = (stage.voiding(event_id), stage.processing(event_id), reversing)
        return [await refusal(database.run(step)) for step in steps]

    assert run(dividends_url, act) == ["revenue.distributed", "revenue.distributed", "transfer.not_reversible"]


def test_frozen_artist_gets_a_distribution(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        await stage.fund_artist(1)
        await freeze(database, user_account(stage.artist, "available", "USD"))
        await stage.distribute(100)
        return await stage.money(stage.artist)

    assert run(dividends_url, act) == 41


def test_fund_and_void_at_once(dividends_url: str, order: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        event_id = await stage.record(100)
        steps = (stage.processing(event_id), stage.voiding(event_id))
        return await race(database, order=order, steps=steps), await stage.kept()

    expected = ("revenue.declared", 100) if order == "one first" else ("revenue.voided", 0)
    assert run(dividends_url, act) == (["done", expected[0]], expected[1])


def test_two_machines_post_a_distribution_once(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        declared = await stage.declare(100)
        results = await race(database, order="one first", steps=(stage.posting(declared), stage.posting(declared)))
        return results, await stage.unclaimed()

    assert run(dividends_url, act) == (["done", "done"], 50)


def test_cancel_and_post_at_once(dividends_url: str, order: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        event_id = await stage.record(100)
        declared = await database.run(stage.processing(event_id))
        steps = (stage.posting(declared), canceling(declared))
        results = await race(database, order=order, steps=steps)
        return results, await stage.status_of(event_id)

    one_first = (["done", "distribution.not_declared"], "distributed")
    assert run(dividends_url, act) == (one_first if order == "one first" else (["done", "done"], "funded"))


def test_two_declarations_at_once_share_the_revenue(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        events = [await stage.record(100), await stage.record(40)]
        steps = (stage.processing(events[0]), stage.processing(events[1]))
        results = await race(database, order="one first", steps=steps)
        await distributions.post_due(database, now=NOW)
        return results, await stage.unclaimed()

    assert run(dividends_url, act) == (["done", "done"], 70)


def test_interrupted_distribution_is_posted_later(dividends_url: str) -> None:
    """Killed before its commit, it leaves nothing; afterwards it is posted once."""

    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        declared = await stage.declare(100)
        with pytest.raises(InterruptedError):
            async with database.transaction() as tx:
                await stage.posting(declared)(tx)
                raise InterruptedError
        before = await stage.unclaimed()
        await distributions.post_due(database, now=NOW)
        return before, await stage.unclaimed()

    assert run(dividends_url, act) == (0, 50)
