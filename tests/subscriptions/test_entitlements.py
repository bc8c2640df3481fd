"""Plans in force, features, and uses of limits, without HTTP."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest

from audifi.core.db.database import Database, Transaction
from audifi.core.http.problems import Problem
from audifi.subscriptions import entitlements
from audifi.subscriptions.plans import ENTITLEMENTS, PLANS, VERSION, PlanFeature, plan_above
from tests.subscriptions.accounts import (
    NOW,
    granted,
    new_user,
    release,
    run,
    subscribed,
    use,
    used,
    using,
    violations,
)

OF_FREE = {"code": "403 plan.limit_reached", "key": "masters", "limit": 1, "used": 1, "plan_needed": "PRO"}
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


async def plan(database: Database, user_id: UUID, at: datetime = NOW) -> tuple[str, int]:
    in_force = (await entitlements.plan_of(database, user_ids=[user_id], now=at))[user_id]
    return in_force.name, in_force.version


def test_higher_plan_includes_the_lower() -> None:
    for lower, higher in pairwise(PLANS):
        assert ENTITLEMENTS[higher, VERSION].includes(ENTITLEMENTS[lower, VERSION])
        assert not ENTITLEMENTS[lower, VERSION].includes(ENTITLEMENTS[higher, VERSION])
    assert plan_above("masters", 10**9) == "PRO"


def test_plan_is_the_highest_in_force(migrated_database_url: str) -> None:
    async def act(database: Database) -> Any:
        none, paying, gifted, ended, later = [await new_user(database) for _ in range(5)]
        await subscribed(database, paying, "PRO")
        await granted(database, paying, "ENTERPRISE", days=10)
        await granted(database, gifted, "PRO")
        await granted(database, gifted, "PRO", days=5)
        await subscribed(database, ended, "ENTERPRISE", status="canceled", access_until=NOW)
        await granted(database, later, "PRO")
        users = [none, paying, gifted, ended, later]
        at_once = await entitlements.plan_of(database, user_ids=users, now=NOW)
        return (
            [at_once[user].name for user in users],
            await plan(database, paying, NOW + timedelta(days=10)),
            await plan(database, paying, NOW + timedelta(days=33)),
            await plan(database, later, NOW - timedelta(seconds=1)),
        )

    at_once, after_grant, after_all, before = run(migrated_database_url, act)

    assert at_once == ["FREE", "ENTERPRISE", "PRO", "FREE", "PRO"]
    assert (after_grant, after_all, before) == (("PRO", 1), ("FREE", 1), ("FREE", 1))


def test_feature_is_required(migrated_database_url: str) -> None:
    async def act(database: Database) -> Any:
        free, pro = await new_user(database), await new_user(database)
        await granted(database, pro)
        await entitlements.require(database, user_id=pro, feature="royalty_terms", now=NOW)
        refusals = []
        requests: list[tuple[UUID, PlanFeature]] = [(free, "royalty_terms"), (pro, "uhd")]
        for user, feature in requests:
            with pytest.raises(Problem) as refused:
                await entitlements.require(database, user_id=user, feature=feature, now=NOW)
            refusals.append((refused.value.code, refused.value.extensions))
        return refusals

    assert run(migrated_database_url, act) == [
        ("plan.feature_required", {"feature": "royalty_terms", "plan_needed": "PRO"}),
        ("plan.feature_required", {"feature": "uhd", "plan_needed": "ENTERPRISE"}),
    ]


def test_use_beyond_the_limit_is_refused(migrated_database_url: str) -> None:
    async def act(database: Database) -> Any:
        user, first, second = await new_user(database), uuid4(), uuid4()
        answers = [await use(database, user, ref) for ref in (first, first, second)]
        await release(database, user, first)
        await release(database, user, first)
        answers += [await use(database, user, ref) for ref in (second, first)]
        return answers, await used(database, user)

    answers, count = run(migrated_database_url, act)

    refused = OF_FREE | {"resets_at": None}
    assert (answers, count) == ([None, None, refused, None, refused], [1])


def test_released_use_counts_again_when_used_again(migrated_database_url: str) -> None:
    async def act(database: Database) -> Any:
        user, ref = await new_user(database), uuid4()
        answers = []
        for _ in range(2):
            answers.append(await use(database, user, ref))
            await release(database, user, ref)
        answers.append(await use(database, user, ref))
        return answers, await used(database, user)

    assert run(migrated_database_url, act) == ([None, None, None], [1])


def test_use_is_rolled_back_with_its_transaction(migrated_database_url: str) -> None:
    async def act(database: Database) -> Any:
        user = await new_user(database)
        with pytest.raises(ZeroDivisionError):
            async with database.transaction() as tx:
                await using(tx, user, uuid4())
                _ = 1 / 0
        return await used(database, user), await use(database, user)

    assert run(migrated_database_url, act) == ([], None)


def test_paid_plan_counts_without_a_limit(migrated_database_url: str) -> None:
    async def act(database: Database) -> Any:
        user = await new_user(database)
        await subscribed(database, user, access_until=NOW + timedelta(days=3))
        answers = [await use(database, user) for _ in range(3)]
        answers.append(await use(database, user, at=NOW + timedelta(days=3)))
        return answers, await used(database, user)

    answers, count = run(migrated_database_url, act)

    assert (answers, count) == ([None, None, None, OF_FREE | {"used": 3, "resets_at": None}], [3])


def test_month_begins_anew(migrated_database_url: str) -> None:
    december, january = datetime(2026, 12, 31, 23, 59, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)

    async def act(database: Database) -> Any:
        user, first = await new_user(database), uuid4()
        answers = [
            await use(database, user, first, key="studio_sessions", at=december),
            await use(database, user, key="studio_sessions", at=december),
            await use(database, user, key="studio_sessions", at=january),
        ]
        await release(database, user, first, key="studio_sessions", at=january)  # too late
        return answers, await used(database, user)

    answers, count = run(migrated_database_url, act)

    refused = OF_FREE | {"key": "studio_sessions", "resets_at": january}
    assert (answers, count) == ([None, refused, None], [1, 1])


@pytest.mark.parametrize("before", [0, 1])
def test_only_one_of_two_uses_at_once_succeeds(migrated_database_url: str, before: int) -> None:
    """The first transaction has used the limit, and is committed once the second waits for its counter."""

    async def act(database: Database) -> Any:
        user, ref = await new_user(database), uuid4()
        if before:  # the counter's row is there
            await use(database, user, ref)
            await release(database, user, ref)
        has_used, may_commit = asyncio.Event(), asyncio.Event()

        async def first() -> None:
            async with database.transaction() as tx:
                await using(tx, user, uuid4())
                has_used.set()
                await may_commit.wait()

        winner = asyncio.create_task(first())
        await has_used.wait()
        second = asyncio.create_task(use(database, user))
        async with asyncio.timeout(60):
            while not (await database.fetch_sql(WAITING))[0][0]:  # noqa: ASYNC110 - PostgreSQL's
                await asyncio.sleep(0.01)
        may_commit.set()
        await winner
        return await second, await used(database, user)

    assert run(migrated_database_url, act) == (OF_FREE | {"resets_at": None}, [1])


def test_refusals_are_counted(migrated_database_url: str) -> None:
    async def act(database: Database) -> list[tuple[str, str]]:
        events: list[tuple[str, str]] = []
        database.on_event = lambda measure, label: events.append((measure.name, label))
        user = await new_user(database)
        await use(database, user)
        await use(database, user)

        async def ask(tx: Transaction) -> None:
            await entitlements.require(tx, user_id=user, feature="hd", now=NOW)

        with pytest.raises(Problem):
            await database.run(ask)
        return events

    assert run(migrated_database_url, act) == [("plan_refusals", "masters"), ("plan_refusals", "hd")]


def test_violations_are_reported(migrated_database_url: str) -> None:
    async def act(database: Database) -> list[str]:
        counting, using_too_much = await new_user(database), await new_user(database)
        await use(database, counting)
        await granted(database, using_too_much, days=1)
        for _ in range(2):
            await use(database, using_too_much)
        assert await violations(database) == []
        await database.fetch_sql("UPDATE usage_counters SET used = 7 WHERE user_id = $1", counting)
        await database.fetch_sql(
            "UPDATE usage_uses SET used_at = used_at + interval '2 days' WHERE user_id = $1", using_too_much
        )
        broken = await violations(database)
        await database.fetch_sql("DELETE FROM usage_counters")
        await database.fetch_sql("DELETE FROM usage_uses")
        return broken

    assert run(migrated_database_url, act) == ["usage_counters_equal_uses", "usage_within_plan"]
