"""Claims: what is paid, to whom, and once."""

import asyncio
import json
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from uuid import uuid4

from audifi.core.db.database import Database, Transaction
from audifi.core.idempotency.service import make_claim
from audifi.dividends import claims, csv
from audifi.ledger.accounts import platform_account, user_account
from tests.dividends.stages import Stage, refusal, run
from tests.ledger.ledgers import NOW, balance, external, post
from tests.support.races import order, race

__all__ = ["order"]

WITHHOLD = """
CREATE OR REPLACE FUNCTION dividend_withholding_bps_v1(of_user uuid) RETURNS bigint LANGUAGE sql STABLE
    AS 'SELECT {}::bigint'
"""


def test_claim_pays_once(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1, 3)
        ana = stage.holders[0]
        await stage.distribute(80)
        return await stage.claim(ana), await stage.claim(ana), await stage.money(ana), await stage.unclaimed()

    assert run(dividends_url, act) == ([10], [], 10, 30)


def test_retry_of_a_claim_gets_the_first_answer(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        [ana] = stage.holders
        await stage.distribute(80)
        first = await database.run(stage.claiming(ana, key="one"))
        await stage.distribute(80)
        retry = await database.run(stage.claiming(ana, key="one"))
        other = make_claim(user_id=ana, key="one", request=b"another")

        async def reuse(tx: Transaction) -> Any:
            return await claims.claim(tx, other, user_id=ana, master_id=None, now=stage.now)

        return first.body == retry.body, retry.is_replay, await stage.money(ana), await refusal(database.run(reuse))

    assert run(dividends_url, act) == (True, True, 40, "idempotency_key.reused")


def test_claim_of_all_masters_or_of_one(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        first, second, third = [await Stage(database).open(1) for _ in range(3)]
        [ana] = first.holders
        for number, stage in enumerate((first, second, third), start=1):
            if stage is not first:
                await stage.transfer(stage.holders[0], ana, 1)
            await stage.distribute(20 * number)
        of_second = await first.claim(ana, master_id=second.master_id)
        unknown = await first.claim(ana, master_id=uuid4())
        some = await database.run(first.claiming(ana, max_pools=1))
        rest = await first.claim(ana)
        return of_second, unknown, json.loads(some.body)["has_more"], rest, await first.money(ana)

    assert run(dividends_url, act) == ([20], [], True, [30], 60)


def test_debt_is_paid_first(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        [ana] = stage.holders
        debt = user_account(ana, "debt", "USD")
        await post(database, (debt, -7), (external(), 7))
        await stage.distribute(20)
        return await stage.claim(ana), await stage.money(ana), (await balance(database, debt))[0]

    assert run(dividends_url, act) == ([10], 3, 0)


def test_withholding_is_rounded_down_and_kept_apart(migrated_database_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        [ana] = stage.holders
        await database.fetch_sql(WITHHOLD.format(1500))
        await stage.distribute(198)
        result = await database.run(stage.claiming(ana))
        [paid] = json.loads(result.body)["data"]
        withheld = await balance(database, platform_account("withholding", "USD"))
        return paid["amount"], paid["withheld"], await stage.money(ana), withheld[0]

    # 15 % of 99 is 14.85.
    assert run(migrated_database_url, act) == (99, 14, 85, 14)


def test_everything_can_be_withheld(migrated_database_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        [ana] = stage.holders
        await database.fetch_sql(WITHHOLD.format(10_000))
        await stage.distribute(20)
        return await stage.claim(ana), await stage.money(ana)

    assert run(migrated_database_url, act) == ([10], 0)


def test_two_claims_at_once_pay_once(dividends_url: str, order: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1, 1)
        ana = stage.holders[0]
        await stage.distribute(40)
        results = await race(database, order=order, steps=(stage.claiming(ana), stage.claiming(ana)))
        return results, await stage.money(ana)

    assert run(dividends_url, act) == (["done", "dividend.nothing_to_claim"], 10)


def test_claim_during_a_distribution_loses_nothing(dividends_url: str, order: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1, 1)
        ana = stage.holders[0]
        await stage.distribute(40)
        declared = await stage.declare(80)
        results = await race(database, order=order, steps=(stage.claiming(ana), stage.posting(declared)))
        await stage.claim(ana)
        return results, await stage.money(ana), await stage.unclaimed()

    assert run(dividends_url, act) == (["done", "done"], 30, 30)


def test_transfer_during_a_distribution_loses_nothing(dividends_url: str, order: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1, 1)
        ana, ben = stage.holders
        await stage.distribute(40)
        declared = await stage.declare(80)
        steps = (stage.transferring(ana, ben, 1), stage.posting(declared))
        results = await race(database, order=order, steps=steps)
        return results, await stage.claim(ana), await stage.claim(ben), await stage.unclaimed()

    # Neither saw the other, so the transfer came first.
    assert run(dividends_url, act) == (["done", "done"], [10], [50], 0)


def test_transfer_during_a_claim_waits(dividends_url: str, order: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1, 1)
        ana, ben = stage.holders
        await stage.distribute(40)
        steps = (stage.claiming(ana), stage.transferring(ana, ben, 1))
        results = await race(database, order=order, steps=steps)
        return results, await stage.money(ana), await stage.claim(ben)

    assert run(dividends_url, act) == (["done", "done"], 10, [10])


def test_claims_of_one_holder_and_a_distribution_do_not_deadlock(dividends_url: str) -> None:
    """A claim locks all its accounts at once: many that cross each other all end."""

    async def act(database: Database) -> Any:
        stages = [await Stage(database).open(1, 1) for _ in range(4)]
        ana, ben = stages[0].holders
        for stage in stages[1:]:
            await stage.transfer(stage.holders[0], ana, 1)
            await stage.transfer(stage.holders[1], ben, 1)
        for _ in range(3):
            declared = [await stage.declare(40) for stage in stages]
            async with asyncio.TaskGroup() as tasks:
                for stage, each in zip(stages, declared, strict=True):
                    tasks.create_task(database.run(stage.posting(each)))
                    for holder in (ana, ben):
                        tasks.create_task(stage.claim(holder))
        for holder in (ana, ben):
            await stages[0].claim(holder)
        return await stages[0].money(ana), await stages[0].money(ben)

    conflicts: list[str] = []

    async def counting(database: Database) -> Any:
        database.on_event = lambda _event, label: conflicts.append(label)
        return await act(database)

    assert run(dividends_url, counting, size=12) == (120, 120)
    assert "deadlock" not in conflicts


def test_account_with_dividends_is_not_deleted(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(3, 4)
        ana, ben = stage.holders
        await stage.distribute(20)  # 10 for 7 shares: 4.285714284 for her
        await stage.transfer(ana, ben, 3)

        async def guard(tx: Transaction) -> None:
            await claims.refuse_to_lose_dividends(tx, ana)

        refused = await refusal(database.run(guard))
        await stage.claim(ana)
        return refused, await refusal(database.run(guard))

    assert run(dividends_url, act) == ("account.not_empty", "done")


def test_claim_is_one_statement_and_distribution_three(dividends_url: str) -> None:
    sent: list[str] = []

    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        [ana] = stage.holders
        declared = await stage.declare(20)

        def trace(sql: str) -> AbstractContextManager[None]:
            sent.append(sql)
            return nullcontext()

        database.trace = trace
        await database.run(stage.posting(declared))
        posted = len(sent)
        await database.run(stage.claiming(ana))
        return posted, len(sent) - posted

    # With COMMIT, and without BEGIN.
    assert run(dividends_url, act) == (4, 2)


def test_year_with_too_many_claims_is_not_exported(dividends_url: str) -> None:
    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1)
        [ana] = stage.holders
        for _ in range(2):
            await stage.distribute(20)
            await stage.claim(ana)
        values: dict[str, Any] = {"user_id": ana, "year": NOW.year}
        lines = [chunk async for chunk in await csv.statement(database, **values, max_rows=2)]
        return "".join(lines).count("\r\n"), await refusal(csv.statement(database, **values, max_rows=1))

    assert run(dividends_url, act) == (3, "period.too_long")


def test_claim_asks_rules_and_records_its_events(dividends_url: str) -> None:
    rule = """
        INSERT INTO compliance_rules (action, kyc_required, countries_blocked, version, operator, reason, updated_at)
            VALUES ('claim', {}, '{{}}', 1, 'ana', 'A test', now())
            ON CONFLICT (action) DO UPDATE
                SET kyc_required = excluded.kyc_required, version = compliance_rules.version + 1
    """
    events_of = """
        SELECT kind, payload ->> 'amount' FROM domain_events
        WHERE payload ->> 'pool_id' IN (SELECT pool_id::text FROM dividend_pools WHERE ipo_id = $1) ORDER BY id
    """

    async def act(database: Database) -> Any:
        stage = await Stage(database).open(1, 3)
        await stage.distribute(80)
        await database.fetch_sql(rule.format("true"))
        refused = await refusal(database.run(stage.claiming(stage.holders[0])))
        await database.fetch_sql(rule.format("false"))
        paid = await stage.claim(stage.holders[0])
        return refused, paid, [tuple(event) for event in await database.fetch_sql(events_of, stage.ipo_id)]

    events = [("distribution.posted", None), ("dividend.claimed", "10")]
    assert run(dividends_url, act) == ("kyc.required", [10], events)
