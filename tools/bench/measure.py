"""Load in rounds that take the contenders in turn, A B C D A B C D …: what disturbs the machine disturbs all."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from tools.bench import load
from tools.bench.contenders import Contender, Running, running
from tools.bench.database import TOKENS, Database
from tools.bench.load import WORKLOADS, Load, Workload
from tools.bench.ratios import Sample

WARM_UP_SECONDS = 1
SETTLE_SECONDS = 0.2
SETTLED_SHARE = 0.2  # of a core
SETTLE_TIMEOUT_SECONDS = 20
CONNECTIONS = 64
HEALTH, READ, WRITE, _ = WORKLOADS

type Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much of each."""

    rounds: int
    seconds: float
    few_rounds: int
    few_seconds: float
    """Of 1 and 512 connections, other numbers of users, two processes."""
    starts: int
    trips_seconds: int
    requests_of_memory: int
    users: tuple[int, ...]


FULL = Plan(
    rounds=5,
    seconds=4,
    few_rounds=3,
    few_seconds=2,
    starts=9,
    trips_seconds=2,
    requests_of_memory=100_000,
    users=(10, 1000, 1_000_000),
)
QUICK = Plan(
    rounds=2,
    seconds=1,
    few_rounds=1,
    few_seconds=1,
    starts=3,
    trips_seconds=1,
    requests_of_memory=10_000,
    users=(10, 1000, 20_000),
)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every measurement needs."""

    plan: Plan
    contenders: Sequence[Contender]
    workloads: Sequence[Workload]
    database: Database
    folder: Path
    say: Say


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One run of wrk, or one for each server at once."""

    servers: Sequence[Running]
    workload: Workload
    database: Database
    seconds: float
    connections: int = CONNECTIONS
    """Of all servers together."""
    tokens: int = TOKENS
    pinned: bool = True
    """Whether wrk has its core."""


def run(turn: Turn, folder: Path) -> Load:
    file = turn.database.write_tokens(folder / "tokens", turn.tokens)
    share = turn.connections // len(turn.servers)
    started = [
        load.start(server.url, turn.workload, tokens=file, connections=share, seconds=turn.seconds, pinned=turn.pinned)
        for server in turn.servers
    ]
    loads = [load.finish(process, turn.workload) for process in started]
    return Load(
        requests=sum(each.requests for each in loads),
        failed=sum(each.failed for each in loads),
        seconds=max(each.seconds for each in loads),
        p50_ms=max(each.p50_ms for each in loads),
        p99_ms=max(each.p99_ms for each in loads),
    )


def settle(server: Running) -> None:
    """Wait until it has done what wrk no longer waits for: it would take the core from the next one."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_SECONDS
    busy = True
    while busy and time.monotonic() < deadline:
        before = server.cpu_seconds()
        time.sleep(SETTLE_SECONDS)
        busy = server.cpu_seconds() - before > SETTLE_SECONDS * SETTLED_SHARE


def take(bench: Bench, turns: Sequence[Turn], rounds: int) -> Iterator[Sample]:
    """Each turn in each round, after one to warm up."""
    for turn in turns:
        run(replace(turn, seconds=WARM_UP_SECONDS), bench.folder)
        for server in turn.servers:
            settle(server)
    for number in range(rounds):
        for turn in turns:
            yield sample(bench, turn, number)
            for server in turn.servers:
                settle(server)


def sample(bench: Bench, turn: Turn, number: int) -> Sample:
    psutil.cpu_percent(percpu=True)
    cpu = -sum(server.cpu_seconds() for server in turn.servers)
    measured = run(turn, bench.folder)
    cpu += sum(server.cpu_seconds() for server in turn.servers)
    contender = turn.servers[0].contender
    of = f"{turn.workload.title}, {turn.connections} connections, {turn.database.users:,} users"
    failed = f", {measured.failed} failed" if measured.failed else ""
    bench.say(f"{contender.title:<22}{of}: {measured.requests} requests{failed}")
    return Sample(
        contender=contender.name,
        workload=turn.workload.name,
        connections=turn.connections,
        users=turn.database.users,
        processes=len(turn.servers),
        tokens=turn.tokens,
        round=number,
        requests=measured.requests,
        failed=measured.failed,
        per_second=measured.per_second,
        p50_ms=measured.p50_ms,
        p99_ms=measured.p99_ms,
        cpu_us=cpu * 1e6 / max(1, measured.requests),
        cores=tuple(share / 100 for share in psutil.cpu_percent(percpu=True)),
    )


@contextmanager
def all_running(bench: Bench) -> Iterator[list[Running]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(running(contender, bench.database.url, bench.folder)) for contender in bench.contenders
        ]


def throughput(bench: Bench) -> Iterator[Sample]:
    """Each workload at 64 connections; then, for less long, at 1 and at 512; then with one token for all."""
    plan, database = bench.plan, bench.database
    with all_running(bench) as servers:
        for workload in bench.workloads:
            turns = [
                Turn(servers=[server], workload=workload, database=database, seconds=plan.seconds) for server in servers
            ]
            yield from take(bench, turns, plan.rounds)
        # Of many connections, all should be answered at least once.
        for connections, seconds in ((1, plan.few_seconds), (512, 2 * plan.few_seconds)):
            for workload in bench.workloads:
                turns = [
                    Turn(
                        servers=[server],
                        workload=workload,
                        database=database,
                        seconds=seconds,
                        connections=connections,
                    )
                    for server in servers
                ]
                yield from take(bench, turns, plan.few_rounds)


def one_token(bench: Bench) -> Iterator[Sample]:
    """The read with a thousand tokens, and with one for all, which caches would like best."""
    with all_running(bench) as servers:
        turns = [
            Turn(
                servers=[server],
                workload=READ,
                database=bench.database,
                seconds=bench.plan.few_seconds,
                tokens=tokens,
            )
            for server in servers
            for tokens in (TOKENS, 1)
        ]
        yield from take(bench, turns, bench.plan.few_rounds)


def growth(bench: Bench, databases: Sequence[Database]) -> Iterator[Sample]:
    """Read and write with few users and with many: a server of each contender for each database."""
    some = [each for each in bench.contenders if each.name in {"audifi", "fastify"}]
    with ExitStack() as stack:
        servers = [
            (stack.enter_context(running(contender, database.url, bench.folder)), database)
            for contender in some
            for database in databases
        ]
        for workload in (READ, WRITE):
            turns = [
                Turn(servers=[server], workload=workload, database=database, seconds=bench.plan.few_seconds)
                for server, database in servers
            ]
            yield from take(bench, turns, bench.plan.few_rounds)


def processes(bench: Bench) -> Iterator[Sample]:
    """One process and two, as Fly has machines; all may use both cores, and share them with PostgreSQL's and wrk."""
    ours = [each for each in bench.contenders if each.name == "audifi"]
    with ExitStack() as stack:
        for contender in ours:
            two = [
                stack.enter_context(running(contender, bench.database.url, bench.folder, pinned=False))
                for _ in range(2)
            ]
            for workload in (HEALTH, READ):
                turns = [
                    Turn(
                        servers=servers,
                        workload=workload,
                        database=bench.database,
                        seconds=bench.plan.few_seconds,
                        pinned=False,
                    )
                    for servers in (two[:1], two)
                ]
                yield from take(bench, turns, bench.plan.few_rounds)
