"""Load in rounds that take the contenders in turn, A B C A B C …: a disturbance of the machine affects them all."""

import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil

from tools.bench import load
from tools.bench.client import connected, request
from tools.bench.contenders import Contender, Running, running
from tools.bench.database import Database
from tools.bench.load import Load
from tools.bench.ratios import Memory, Sample
from tools.bench.workloads import Workload

SETTLE_SECONDS = 0.2
SETTLED_CPU_SHARE = 0.2
SETTLE_TIMEOUT_SECONDS = 20

type Log = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured. wrk takes whole seconds."""

    rounds: int
    seconds: int
    warm_up_seconds: int
    starts: int


FULL = Plan(rounds=5, seconds=4, warm_up_seconds=5, starts=8)
QUICK = Plan(rounds=2, seconds=1, warm_up_seconds=2, starts=2)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What every measurement needs."""

    plan: Plan
    contenders: Sequence[Contender]
    workloads: Sequence[Workload]
    database: Database
    folder: Path
    log: Log

    def start_load(self, server: Running, workload: Workload, seconds: int) -> subprocess.Popen[str]:
        return load.start(server.url, workload, tokens=self.database.tokens(), folder=self.folder, seconds=seconds)

    def run_load(self, server: Running, workload: Workload, seconds: int) -> Load:
        return load.finish(self.start_load(server, workload, seconds), workload)


def throughput(bench: Bench) -> tuple[list[Sample], dict[str, Memory]]:
    """Measure each workload against each contender in rounds, and the memory of each contender before and after."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(running(contender, bench.database.url, bench.folder)) for contender in bench.contenders
        ]
        idle_mb = {server.contender.name: idle_memory_mb(bench, server) for server in servers}
        samples = []
        for workload in bench.workloads:
            warm_up(bench, servers, workload)
            for number in range(bench.plan.rounds):
                for server in servers:
                    samples.append(sample(bench, server, workload, number))
                    settle(server)
        memory = {
            name: Memory(
                idle_mb=idle_mb[name],
                after_mb=server.memory_mb(),
                requests=sum(each.requests for each in samples if each.contender == name),
            )
            for server in servers
            for name in [server.contender.name]
        }
    return samples, memory


def idle_memory_mb(bench: Bench, server: Running) -> float:
    """Return the memory after one request of each workload."""
    token = bench.database.tokens()[0]
    with connected(server) as client:
        for workload in bench.workloads:
            request(client, workload, token)
    settle(server)
    return server.memory_mb()


def warm_up(bench: Bench, servers: Sequence[Running], workload: Workload) -> None:
    """Load all servers at once."""
    processes = [bench.start_load(server, workload, bench.plan.warm_up_seconds) for server in servers]
    for process in processes:
        load.finish(process, workload)
    for server in servers:
        settle(server)


def settle(server: Running) -> None:
    """Wait until the server has finished what wrk no longer waits for, which would take CPU from the next one."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_SECONDS
    busy = True
    while busy and time.monotonic() < deadline:
        before = server.cpu_seconds()
        time.sleep(SETTLE_SECONDS)
        busy = server.cpu_seconds() - before > SETTLE_SECONDS * SETTLED_CPU_SHARE


def sample(bench: Bench, server: Running, workload: Workload, number: int) -> Sample:
    psutil.cpu_percent(percpu=True)
    cpu_before = server.cpu_seconds()
    result = bench.run_load(server, workload, bench.plan.seconds)
    cpu = server.cpu_seconds() - cpu_before
    failed = f", {result.failed} failed" if result.failed else ""
    bench.log(f"{workload.title:<18}{server.contender.title:<14}{result.requests} requests{failed}")
    return Sample(
        contender=server.contender.name,
        workload=workload.name,
        round=number,
        requests=result.requests,
        failed=result.failed,
        per_second=result.per_second,
        p50_ms=result.p50_ms,
        p99_ms=result.p99_ms,
        cpu_us=cpu * 1e6 / max(1, result.requests),
        cores=tuple(share / 100 for share in psutil.cpu_percent(percpu=True)),
    )
