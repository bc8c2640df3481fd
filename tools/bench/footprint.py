"""What a contender takes: time to start, memory, statements and round trips to the database."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dev.postgres import Postgres
from tools.bench import load, relay
from tools.bench.contenders import Contender, Running, launched, running, wait_until_healthy
from tools.bench.database import tcp_url
from tools.bench.load import WORKLOADS, Load
from tools.bench.measure import CONNECTIONS, READ, Bench, Turn, run

MEGABYTE = 1_000_000
MEMORY_TIMEOUT_SECONDS = (
    240  # for a machine on which so many requests take too long; the table tells how many there were
)


def starts(bench: Bench) -> dict[str, list[float]]:
    """Seconds from exec to the first healthy answer, by contender."""
    found: dict[str, list[float]] = {contender.name: [] for contender in bench.contenders}
    for number in range(bench.plan.starts + 1):
        for contender in bench.contenders:
            seconds = start_once(contender, bench.database.url, bench.folder)
            if number:  # the first reads its files from the disk
                found[contender.name].append(seconds)
        bench.say(f"all started {number + 1} times")
    return found


def start_once(contender: Contender, database_url: str, folder: Path) -> float:
    began = time.perf_counter()
    with launched(contender, database_url, folder) as server:
        wait_until_healthy(server, folder)
        return time.perf_counter() - began


def memory(bench: Bench) -> dict[str, dict[str, Any]]:
    """MB by contender: idle (after a second of each workload), under load, and after many requests."""
    found: dict[str, dict[str, Any]] = {}
    for contender in bench.contenders:
        with running(contender, bench.database.url, bench.folder) as server:
            for workload in WORKLOADS:
                turn = Turn(servers=[server], workload=workload, database=bench.database, seconds=1, connections=1)
                run(turn, bench.folder)
            idle = megabytes(server)
            done, under_load = 0, idle
            deadline = time.monotonic() + MEMORY_TIMEOUT_SECONDS
            while done < bench.plan.requests_of_memory and time.monotonic() < deadline:
                tokens = bench.database.write_tokens(bench.folder / "tokens")
                loading = load.start(server.url, READ, tokens=tokens, connections=CONNECTIONS, seconds=5)
                time.sleep(3)
                under_load = max(under_load, megabytes(server), key=lambda sizes: sizes["rss"])
                done += load.finish(loading, READ).requests
                bench.say(f"{contender.title:<22}{done:,} requests for its memory")
            time.sleep(2)
            found[contender.name] = {"idle": idle, "load": under_load, "after": megabytes(server), "requests": done}
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
                turn = Turn(
                    servers=[contending],
                    workload=workload,
                    database=bench.database,
                    seconds=bench.plan.trips_seconds,
                    connections=1,
                )
                run(turn, bench.folder)
                found[contender.name][workload.name] = each_request(counter, turn, bench.folder)
        bench.say(f"{contender.title:<22}round trips counted")
    return found


def each_request(counter: relay.Relay, turn: Turn, folder: Path) -> Mapping[str, float]:
    """Less what the server asks by itself, each second."""
    idle = counter.during(lambda: time.sleep(turn.seconds))
    busy: relay.Counts[Load] = counter.during(lambda: run(turn, folder))
    requests = max(1, busy.result.requests)
    return {
        "statements": max(0, busy.statements - idle.statements) / requests,
        "round_trips": max(0, busy.round_trips - idle.round_trips) / requests,
    }
