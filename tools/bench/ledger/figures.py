"""What is measured of the ledger and of offerings: ratios of two things that are done in turns."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from uuid import UUID

from audifi.core.db.pagination import CursorCodec
from audifi.ipos.models import SERIALS_PER_IPO
from audifi.ipos.queries import MOVEMENTS, SHARE, MovementRow, ShareRow
from audifi.ledger.queries import ENTRIES, STATEMENT, StatementRow
from dev.postgres import Postgres
from tests.support import databases
from tools.bench import load, relay
from tools.bench.client import connected
from tools.bench.contenders import Contender, running
from tools.bench.database import Database, tcp_url
from tools.bench.footprint import count
from tools.bench.ledger import pgbench
from tools.bench.ledger.pgbench import Script
from tools.bench.ledger.seed import FEW, LONG_ACCOUNT, MANY, SELLING, SHORT_ACCOUNT, Sizes
from tools.bench.load import CONNECTIONS
from tools.bench.measure import Log
from tools.bench.ratios import Aim, Spread
from tools.bench.workloads import NUMBER, Workload

TWO_USERS = "\\set a random(1, :users / 2)\n\\set b random(:users / 2 + 1, :users)\n"
POST = Script(
    name="ledger_post",
    clients=2,
    waits_for_disk=False,
    text=TWO_USERS
    + "SELECT transfer_id FROM ledger_post_v3(gen_random_uuid(), gen_random_uuid()::text, 'adjustment', ARRAY["
    "(SELECT address FROM bench_users WHERE n = :a), (SELECT address FROM bench_users WHERE n = :b)],"
    " ARRAY[-1, 1], now());",
)
BARE = replace(
    POST,
    name="bare",
    text=TWO_USERS
    + "SELECT bench_post(gen_random_uuid(), gen_random_uuid()::text, (SELECT account_id FROM bench_users WHERE n = :a),"
    " (SELECT account_id FROM bench_users WHERE n = :b), 1);",
)
CREDIT = (
    "\\set a random(1, :users)\n"
    "SELECT transfer_id FROM ledger_post_v3(gen_random_uuid(), gen_random_uuid()::text, 'adjustment', ARRAY["
    "(SELECT address FROM bench_users WHERE n = :a), 'platform//fees/USD/{stripe}'], ARRAY[-1, 1], now());"
)
STRIPED = Script(name="striped", clients=16, waits_for_disk=True, text=CREDIT.format(stripe="*"))
ONE_ROW = replace(STRIPED, name="one_row", text=CREDIT.format(stripe="0"))
WARM_UP_SECONDS = 8
"""Each of the 64 sessions compiles the function and plans its statements at the first purchase, while others wait."""
PURCHASE = Script(
    name="purchase",
    clients=CONNECTIONS,
    waits_for_disk=True,
    warm_up_seconds=WARM_UP_SECONDS,
    text="\\set a random(1, :users)\n\\set lock random(1, 1000000000000000)\n"
    "SELECT status FROM ipo_purchase_v3(sha256(gen_random_uuid()::text::bytea), :lock, sha256(''), gen_random_uuid(),"
    f" gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), '{SELLING}',"
    " (SELECT id FROM bench_users WHERE n = :a), 1, 1, NULL, now(), false);",
)
COUNTER = replace(PURCHASE, name="counter", text="UPDATE bench_counter SET n = n + 1;")
BUY = Workload(
    name="purchase",
    title="purchase",
    method="POST",
    path=f"/api/v1/masters/{SELLING}/ipo/mint",
    body={"quantity": 1, "expected_total": 1},
    headers={"Idempotency-Key": NUMBER},
    status=201,
)
PAGE = 20


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every measurement needs."""

    postgres: Postgres
    database: Database
    server: Contender
    folder: Path
    sizes: Sizes
    rounds: int
    seconds: int
    log: Log


def measure(bench: Bench) -> list[Aim]:
    """Return all figures, in the order of the table."""
    warm_up(bench)
    in_memory = [replace(PURCHASE, waits_for_disk=False), replace(COUNTER, waits_for_disk=False)]
    long_and_short = asyncio.run(reads(bench))  # before the loads add entries to the short account
    figures = [
        Aim(text="`ledger_post` / the same rows by bare SQL", at_least=0.6, spread=rates(bench, POST, BARE)),
        Aim(text="16 stripes / one row, 16 clients", at_least=1.5, spread=rates(bench, STRIPED, ONE_ROW)),
        Aim(
            text="purchases in one offering / a hot counter, 64 clients",
            at_least=0.5,
            spread=rates(bench, PURCHASE, COUNTER),
        ),
        Aim(text="the same, where commits don't wait for the disk", spread=rates(bench, *in_memory)),
        *long_and_short,
        *over_http(bench),
    ]
    for figure in figures:
        bench.log(f"{figure.text}: {figure.spread}")
    return figures


def warm_up(bench: Bench) -> None:
    """Run each transaction, then tell the planner how many rows there are: plans for empty tables would be kept."""
    for script in (POST, BARE, STRIPED, ONE_ROW, PURCHASE, COUNTER):
        rate(bench, replace(script, waits_for_disk=False), bench.seconds)
    databases.execute(bench.database.local_url, "VACUUM ANALYZE")


def rate(bench: Bench, script: Script, seconds: int) -> float:
    values = {"users": bench.sizes.users}
    return pgbench.per_second(bench.postgres, script, folder=bench.folder, seconds=seconds, values=values)


def rates(bench: Bench, ours: Script, theirs: Script) -> Spread:
    """Return the ratio of two rates, in rounds of both."""
    seconds = bench.seconds
    return Spread.of([rate(bench, ours, seconds) / rate(bench, theirs, seconds) for _ in range(bench.rounds)])


async def reads(bench: Bench) -> list[Aim]:
    """Return how much longer reads of many rows take than those of few, by the service's own statements."""
    users = dict(enumerate(await account_ids(bench), 1))
    codec = CursorCodec([bytes(32)])
    async with databases.connect_pools(bench.database.local_url) as pools:

        async def page(number: int) -> None:
            account_id, user_id = users[number]
            statement = await pools.fetch_one(
                STATEMENT, StatementRow, account_id=account_id, user_id=user_id, is_admin=False, since=None, until=None
            )
            assert statement is not None
            await ENTRIES.fetch(
                pools,
                codec,
                sort="-version",
                limit=PAGE,
                account_id=account_id,
                first_version=statement.first_version,
                last_version=statement.last_version,
            )

        async def provenance(ipo: UUID) -> None:
            number = numbers[ipo] * SERIALS_PER_IPO + 1
            assert await pools.fetch_one(SHARE, ShareRow, number=number)
            assert await pools.fetch_all(MOVEMENTS, MovementRow, number=number)

        numbers = {row[0]: row[1] for row in await pools.fetch_sql("SELECT id, number FROM ipos")}
        return [
            Aim(
                text=f"statement page, {bench.sizes.many_entries:,} / {bench.sizes.few_entries} entries",
                at_most=2,
                spread=await times(bench, lambda: page(LONG_ACCOUNT), lambda: page(SHORT_ACCOUNT)),
            ),
            Aim(
                text=f"history of a share, offering with {bench.sizes.many_movements:,} /"
                f" {bench.sizes.few_movements} movements",
                at_most=2,
                spread=await times(bench, lambda: provenance(MANY), lambda: provenance(FEW)),
            ),
        ]


async def account_ids(bench: Bench) -> list[tuple[UUID, UUID]]:
    async with databases.connect_pools(bench.database.local_url) as pools:
        rows = await pools.fetch_sql("SELECT account_id, id FROM bench_users ORDER BY n")
    return [(row[0], row[1]) for row in rows]


async def times(bench: Bench, ours: Callable[[], Awaitable[None]], theirs: Callable[[], Awaitable[None]]) -> Spread:
    """Return the ratio of two median times, in rounds of both, alternating call by call."""
    ratios = []
    for _ in range(bench.rounds):
        seconds: dict[int, list[float]] = {0: [], 1: []}
        deadline = time.monotonic() + bench.seconds
        while time.monotonic() < deadline:
            for number, read in enumerate((ours, theirs)):
                began = time.perf_counter()
                await read()
                seconds[number].append(time.perf_counter() - began)
        ratios.append(median(seconds[0]) / median(seconds[1]))
    return Spread.of(ratios)


def over_http(bench: Bench) -> list[Aim]:
    """Return the round trips of a purchase, and the spread of its times, by real requests to a real server."""
    tokens = bench.database.tokens()
    with (
        relay.running(bench.postgres.port) as counter,
        running(bench.server, tcp_url(counter.port), bench.folder, pinned=False) as server,
        connected(server) as client,
    ):
        trips = count(counter, client, BUY, tokens).round_trips
    with running(bench.server, bench.database.url, bench.folder, pinned=False) as server:
        loads = [
            load.finish(load.start(server.url, BUY, tokens=tokens, folder=bench.folder, seconds=bench.seconds), BUY)
            for _ in range(bench.rounds)
        ]
    if failed := sum(each.failed for each in loads):
        raise load.LoadError(f"{failed} purchases failed")
    return [
        Aim(
            text="p99 / p50 of a purchase over HTTP, 64 clients", spread=Spread.of([x.p99_ms / x.p50_ms for x in loads])
        ),
        Aim(text="round trips of a purchase", unit="", at_most=4, spread=Spread.of([trips])),
    ]
