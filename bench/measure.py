"""What is measured, each in rounds that take the contenders in turn: A B C D A B C D …"""

import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import load, relay
from bench.contenders import HEALTH_PATH, START_TIMEOUT_SECONDS, Contender, Running, StartError, launched, running
from bench.database import Database, tcp_url
from bench.load import Load, Workload
from bench.ratios import Sample
from dev.postgres import Postgres

POLL_SECONDS = 0.002
WARM_UP_SECONDS = 2
REQUESTS_OF_MEMORY = 100_000
MEGABYTE = 1_000_000

type Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much of each."""

    rounds: int
    seconds: float
    few_rounds: int
    few_seconds: float
    starts: int
    requests_of_memory: int
    growth_rounds: int
    users: tuple[int, ...]


FULL = Plan(
    rounds=6,
    seconds=4,
    few_rounds=3,
    few_seconds=2,
    starts=9,
    requests_of_memory=REQUESTS_OF_MEMORY,
    growth_rounds=4,
    users=(10, 1000, 1_000_000),
)
QUICK = Plan(
    rounds=2,
    seconds=1,
    few_rounds=1,
    few_seconds=1,
    starts=3,
    requests_of_memory=5000,
    growth_rounds=1,
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

    def tokens(self, database: Database | None = None) -> Path:
        database = database or self.database
        return database.write_tokens(self.folder / f"tokens-{database.users}")

    def one_token(self) -> Path:
        return self.database.write_tokens(self.folder / "token", 1)


def run(servers: Sequence[Running], workload: Workload, *, tokens: Path, connections: int, seconds: float) -> Load:
    """Load servers at once, each with its share of the connections; more than one are loaded from any core."""
    pinned = len(servers) == 1
    share = connections // len(servers)
    options: dict[str, Any] = {"tokens": tokens, "connections": share, "seconds": seconds, "pinned": pinned}
    started = [load.start(server.url, workload, **options) for server in servers]
    loads = [load.finish(process, workload) for process in started]
    return Load(
        requests=sum(each.requests for each in loads),
        seconds=max(each.seconds for each in loads),
        p50_ms=max(each.p50_ms for each in loads),
        p99_ms=max(each.p99_ms for each in loads),
    )


def sample(
    bench: Bench,
    servers: Sequence[Running],
    workload: Workload,
    *,
    number: int,
    connections: int,
    seconds: float,
    tokens: Path,
    users: int,
) -> Sample:
    cpu = sum(server.cpu_seconds() for server in servers)
    measured = run(servers, workload, tokens=tokens, connections=connections, seconds=seconds)
    cpu = sum(server.cpu_seconds() for server in servers) - cpu
    contender = servers[0].contender
    bench.say(
        f"{contender.title:<22}{workload.title}, {connections} connections, {users:,} users: {measured.requests} requests"
    )
    return Sample(
        contender=contender.name,
        workload=workload.name,
        connections=connections,
        users=users,
        processes=len(servers),
        round=number,
        per_second=measured.per_second,
        p50_ms=measured.p50_ms,
        p99_ms=measured.p99_ms,
        cpu_us=cpu * 1e6 / measured.requests,
    )


@contextmanager
def all_running(bench: Bench) -> Iterator[list[Running]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(running(contender, bench.database.url, bench.folder)) for contender in bench.contenders
        ]


def throughput(bench: Bench) -> Iterator[Sample]:
    """Each workload at 64 connections; then, for less long, at 1 and at 512."""
    plan = bench.plan
    users = bench.database.users
    with all_running(bench) as servers:
        for workload in bench.workloads:
            for server in servers:
                run([server], workload, tokens=bench.tokens(), connections=64, seconds=WARM_UP_SECONDS)
        for connections, rounds, seconds in (
            (64, plan.rounds, plan.seconds),
            (1, plan.few_rounds, plan.few_seconds),
            (512, plan.few_rounds, plan.few_seconds),
        ):
            for workload in bench.workloads:
                for number in range(rounds):
                    tokens = bench.tokens()
                    for server in servers:
                        yield sample(
                            bench,
                            [server],
                            workload,
                            number=number,
                            connections=connections,
                            seconds=seconds,
                            tokens=tokens,
                            users=users,
                        )


def one_token_for_all(bench: Bench) -> Iterator[Sample]:
    """The authenticated read with the same token each time, which caches of tokens and of pages would like best."""
    workload = next(each for each in load.WORKLOADS if each.name == "me")
    with all_running(bench) as servers:
        for number in range(bench.plan.few_rounds):
            for users, tokens in ((bench.database.users, bench.tokens()), (1, bench.one_token())):
                for server in servers:
                    yield sample(
                        bench,
                        [server],
                        workload,
                        number=number,
                        connections=64,
                        seconds=bench.plan.few_seconds,
                        tokens=tokens,
                        users=users,
                    )


def starts(bench: Bench) -> dict[str, list[float]]:
    """Seconds from exec to the first healthy answer, by contender."""
    found: dict[str, list[float]] = {contender.name: [] for contender in bench.contenders}
    for number in range(bench.plan.starts + 1):
        for contender in bench.contenders:
            seconds = start_once(contender, bench.database.url, bench.folder)
            if number:  # the first finds the files on the disk
                found[contender.name].append(seconds)
                bench.say(f"{contender.title:<22}started")
    return found


def start_once(contender: Contender, database_url: str, folder: Path) -> float:
    began = time.perf_counter()
    with launched(contender, database_url, folder) as server:
        port = int(server.url.rpartition(":")[2])
        while not asked_health(port):
            if time.perf_counter() - began > START_TIMEOUT_SECONDS:
                raise StartError(f"{contender.title} isn't healthy after {START_TIMEOUT_SECONDS} s")
            time.sleep(POLL_SECONDS)
        return time.perf_counter() - began


def asked_health(port: int) -> bool:
    """One question over a socket of our own: a client library would take longer than a poll."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(f"GET {HEALTH_PATH} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
            return connection.recv(64).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


def memory(bench: Bench) -> dict[str, dict[str, Any]]:
    """MB by contender: idle (after one second of each workload from one connection), under load, after many requests."""
    found: dict[str, dict[str, Any]] = {}
    read = next(each for each in load.WORKLOADS if each.name == "me")
    for contender in bench.contenders:
        with running(contender, bench.database.url, bench.folder) as server:
            for workload in load.WORKLOADS:
                run([server], workload, tokens=bench.tokens(), connections=1, seconds=1)
            idle = megabytes(server)
            done, under_load = 0, idle
            while done < bench.plan.requests_of_memory:
                process = load.start(server.url, read, tokens=bench.tokens(), connections=64, seconds=5)
                time.sleep(3)
                under_load = max(under_load, megabytes(server), key=lambda sizes: sizes["rss"])
                done += load.finish(process, read).requests
            time.sleep(2)
            found[contender.name] = {
                "idle": idle,
                "load": under_load,
                "after": megabytes(server),
                "requests": done,
            }
            bench.say(f"{contender.title:<22}{done} requests")
    return found


def megabytes(server: Running) -> dict[str, float]:
    """RSS counts what is shared with other processes in full, PSS by their number, USS not at all."""
    sizes = server.process.memory_full_info()
    return {name: getattr(sizes, name) / MEGABYTE for name in ("rss", "pss", "uss")}


def trips(bench: Bench, server: Postgres) -> dict[str, dict[str, Mapping[str, float]]]:
    """Statements and round trips to the database for each request, by contender and workload."""
    found: dict[str, dict[str, Mapping[str, float]]] = {}
    name = bench.database.url.rpartition("/")[2]
    for contender in bench.contenders:
        with (
            relay.running(server.port) as counter,
            running(contender, tcp_url(counter.port, name), bench.folder) as contending,
        ):
            found[contender.name] = {}
            for workload in bench.workloads:
                run([contending], workload, tokens=bench.tokens(), connections=1, seconds=1)
                idle = counter.during(lambda: time.sleep(2)).each(2)  # what it asks by itself, each second
                busy = counter.during(
                    lambda workload=workload: run(  # type: ignore[misc]
                        [contending], workload, tokens=bench.tokens(), connections=1, seconds=3
                    )
                )
                measured = busy.result
                found[contender.name][workload.name] = {
                    "statements": (busy.statements - idle.statements * measured.seconds) / measured.requests,
                    "round_trips": (busy.round_trips - idle.round_trips * measured.seconds) / measured.requests,
                }
            bench.say(f"{contender.title:<22}round trips counted")
    return found
