"""`python -m tools.bench.dividends`: what holders cost a distribution and a claim, as ratios of one run.

Alone on the machine; PostgreSQL has no core of its own, since all is measured against itself.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from uuid import UUID

import psutil

from audifi.core.db.database import Database
from tests.dividends.stages import Stage
from tests.support import databases

HOLDERS_AT_ONCE = 5000
"""In one transaction: opening an account takes an advisory lock of its owner."""
HOLDERS = """
WITH added AS (
    INSERT INTO users (id, email, email_key, created_at)
        SELECT id, id || '@example.com', id || '@example.com', now()
        FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, $1::int)) AS ids
        RETURNING id
), numbered AS (SELECT id, row_number() OVER () / 60 AS batch FROM added)
SELECT count(ledger_post_v2(gen_random_uuid(), gen_random_uuid()::text, 'sale', addresses, amounts, now()))
FROM (
    SELECT batch, array_agg(format('user/%s/shares/%s/0', id, $2::text)) || format('user/%s/shares/%s/0', $3::uuid,
        $2::text) AS addresses, array_agg(1) || -count(*) AS amounts
    FROM numbered GROUP BY batch
) AS batches
"""
OWNERS = """
SELECT a.owner_id FROM ledger_accounts AS a JOIN ledger_assets AS s ON s.id = a.asset_id
WHERE s.code = $1 AND a.owner_kind = 'user' AND a.posted = 1 LIMIT $2
"""
TRANSFERS = """
SELECT count(ledger_post_v2(gen_random_uuid(), $1::text || n, 'sale', ARRAY[
    'user/' || $2::uuid || '/available/USD/0', 'user/' || $3::uuid || '/available/USD/0',
    'platform//fees/USD/*', 'ipo/' || $2::uuid || '/escrow/USD/0'], ARRAY[1, 1, 1, -3], now()))
FROM generate_series(1, $4::int) AS n
"""
FILL = """
SELECT ledger_post_v2(gen_random_uuid(), 'fill', 'deposit', ARRAY['ipo/' || $1::uuid || '/escrow/USD/0',
    'provider//external/USD/*'], ARRAY[1000000000, -1000000000], now())
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.dividends", description=__doc__)
    parser.add_argument("--holders", type=int, default=100_000, help="of the master with many (%(default)s)")
    parser.add_argument("--rounds", type=int, default=40, help="of distributions and claims (%(default)s)")
    parser.add_argument("--transfers", type=int, default=2000, help="of plain transfers, in each round (%(default)s)")
    parser.add_argument("--before", default="0014", help="the revision that plain transfers are compared with")
    options = parser.parse_args()
    with databases.own_server() as server:
        if failure := databases.make_template(server):
            raise SystemExit(failure)
        url = databases.create_database(server, databases.TEMPLATE)
        asyncio.run(measure(url, holders=options.holders, rounds=options.rounds))
        old = databases.create_database(server)
        done = databases.alembic("upgrade", options.before, DATABASE_URL=old)
        if done.returncode:
            raise SystemExit(done.stderr)
        new = databases.create_database(server, databases.TEMPLATE)
        ratio = asyncio.run(compare_transfers(new, old, count=options.transfers))
        print(f"transfer that accrues nothing: {ratio:.3f} x the CPU time of revision {options.before}")


async def measure(url: str, *, holders: int, rounds: int) -> None:
    async with databases.connect_pools(url, size=64, database_statement_timeout_seconds=600) as database:
        few = await Stage(database).open(10)
        many = await Stage(database).open(holders)
        for stage, count in ((few, 10), (many, holders)):
            for begin in range(0, count, HOLDERS_AT_ONCE):
                added = min(HOLDERS_AT_ONCE, count - begin)
                await database.fetch_sql(HOLDERS, added, stage.shares, stage.holders[0])
        await database.fetch_sql("ANALYZE")
        owners = {stage: await first_owners(database, stage, rounds + 64) for stage in (few, many)}
        times: dict[str, list[float]] = {}
        for number in range(rounds):
            for stage, name in ((few, "few"), (many, "many")):
                declared = await stage.declare(stage.total * 4)
                times.setdefault(f"distribution {name}", []).append(
                    await timed(lambda: database.run(stage.posting(declared)))  # noqa: B023 - awaited at once
                )
                holder = owners[stage][number % len(owners[stage])]
                times.setdefault(f"claim {name}", []).append(
                    await timed(lambda: database.run(stage.claiming(holder)))  # noqa: B023
                )
        for what in ("distribution", "claim"):
            medians = [statistics.median(times[f"{what} {name}"]) for name in ("few", "many")]
            print(
                f"{what}: {medians[1] / medians[0]:.2f} x with {holders:,} holders"
                f" ({1000 * medians[0]:.2f} ms with 10, {1000 * medians[1]:.2f} ms)"
            )
        await count_round_trips(database, many, owners[many][-1])
        await claim_at_once(database, many, owners[many][-64:])


async def first_owners(database: Database, stage: Stage, count: int) -> list[UUID]:
    return [row[0] for row in await database.fetch_sql(OWNERS, stage.shares, count)]


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def count_round_trips(database: Database, stage: Stage, holder: UUID) -> None:
    sent: list[str] = []

    def trace(sql: str) -> nullcontext[None]:
        sent.append(sql)
        return nullcontext()

    before, database.trace = database.trace, trace
    await database.run(stage.claiming(holder))
    database.trace = before
    print(f"claim: {len(sent) + 1} round trips, with BEGIN and COMMIT")


async def claim_at_once(database: Database, stage: Stage, holders: list[UUID]) -> None:
    """Compare claims of one pool at once with as many claims of pools of their own."""
    separate = [await Stage(database).open(1) for _ in holders]
    together: list[float] = []
    apart: list[float] = []
    for _ in range(5):
        await stage.distribute(stage.total * 4)
        for each in separate:
            await each.distribute(4)
        for times, claims in (
            (together, [stage.claiming(holder) for holder in holders]),
            (apart, [each.claiming(each.holders[0]) for each in separate]),
        ):
            times.append(await timed(lambda: asyncio.gather(*map(database.run, claims))))  # noqa: B023
    ratio = statistics.median(together) / statistics.median(apart)
    print(f"{len(holders)} claims at once: {ratio:.2f} x on one pool, compared with a pool each")


async def compare_transfers(new: str, old: str, *, count: int) -> float:
    """Return PostgreSQL's CPU time of transfers that accrue nothing, compared with an older database's."""
    payer, payee = UUID(int=1), UUID(int=2)
    ratios: list[float] = []
    async with databases.connect_pools(new, size=1) as now, databases.connect_pools(old, size=1) as then:
        for number in range(12):
            seconds = {}
            for database in (then, now) if number % 2 else (now, then):
                async with database.connection() as connection:
                    await connection.execute("SET statement_timeout = 0; SET synchronous_commit = off")
                    if not number:
                        await connection.fetch(FILL, payer)
                    backend = psutil.Process(await connection.fetchval("SELECT pg_backend_pid()"))
                    began = sum(backend.cpu_times()[:2])
                    await connection.fetch(TRANSFERS, f"round {number} ", payer, payee, count)
                    seconds[database] = sum(backend.cpu_times()[:2]) - began
            if number:  # the first one warms up
                ratios.append(seconds[now] / seconds[then])
    return statistics.median(ratios)


if __name__ == "__main__":
    main()
