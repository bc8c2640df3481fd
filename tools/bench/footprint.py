"""What a contender takes: time to start, statements and round trips to the database."""

import http.client
import time
from statistics import median

from dev.postgres import Postgres
from tests.support import databases
from tools.bench import relay
from tools.bench.client import connected, request
from tools.bench.contenders import launched, running, wait_until_healthy
from tools.bench.database import NAME, tcp_url
from tools.bench.load import LoadError
from tools.bench.measure import Bench
from tools.bench.ratios import Statements
from tools.bench.workloads import WORKLOADS, Workload

COUNTED_REQUESTS = 50
CLOSE_TIMEOUT_SECONDS = 20
SECONDS_BETWEEN_CHECKS = 0.05
READ = next(workload for workload in WORKLOADS if workload.name == "read")


def starts(bench: Bench) -> dict[str, list[float]]:
    """Return the seconds from exec to the first healthy answer, by contender."""
    seconds: dict[str, list[float]] = {contender.name: [] for contender in bench.contenders}
    for number in range(bench.plan.starts + 1):
        for contender in bench.contenders:
            began = time.perf_counter()
            with launched(contender, bench.database.url, bench.folder) as server:
                wait_until_healthy(server)
                if number:  # the first start reads files from the disk
                    seconds[contender.name].append(time.perf_counter() - began)
        bench.log(f"all started {number + 1} times")
    return seconds


def statements(bench: Bench, postgres: Postgres) -> dict[str, dict[str, Statements]]:
    """Return what a request of each workload asks of the database at one connection, by contender."""
    counts: dict[str, dict[str, Statements]] = {}
    for contender in bench.contenders:
        with (
            relay.running(postgres.port) as counter,
            running(contender, tcp_url(counter.port), bench.folder) as server,
            connected(server) as client,
        ):
            counts[contender.name] = {
                workload.name: count(counter, client, workload, bench.database.tokens()) for workload in bench.workloads
            }
        bench.log(f"{contender.title:<14}statements counted")
    return counts


def count(
    counter: relay.Relay, client: http.client.HTTPConnection, workload: Workload, tokens: list[str]
) -> Statements:
    """Return the medians of several requests: a server's background tasks ask something now and then."""
    request(client, workload, tokens[0])  # connects, and prepares the statements
    counts = []
    for number in range(COUNTED_REQUESTS):
        before = counter.counts()
        request(client, workload, tokens[number % len(tokens)])
        after = counter.counts()
        counts.append((after.statements - before.statements, after.round_trips - before.round_trips))
    return Statements(
        statements=median(statements for statements, _ in counts),
        round_trips=median(round_trips for _, round_trips in counts),
    )


def transactions_per_read(bench: Bench) -> dict[str, float]:
    """Return how many transactions PostgreSQL ran for each read of one row under load, by contender.

    A statement outside a transaction is one by itself. Below 1, one statement answered several requests.
    """
    counts = {}
    for contender in bench.contenders:
        before = transactions(bench)
        with running(contender, bench.database.url, bench.folder) as server:
            requests = bench.run_load(server, READ, 2 * bench.plan.seconds).requests
        counts[contender.name] = (transactions(bench) - before) / max(1, requests)
    return counts


def transactions(bench: Bench) -> int:
    """Count the transactions of the database so far. Connections report theirs at the latest when they are closed."""
    url = bench.database.postgres_url
    deadline = time.monotonic() + CLOSE_TIMEOUT_SECONDS
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1"
    while databases.fetch_value(url, others, NAME) != 0:
        if time.monotonic() > deadline:
            raise LoadError("the connections of a server that was killed are still open")
        time.sleep(SECONDS_BETWEEN_CHECKS)
    total = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = $1"
    return int(str(databases.fetch_value(url, total, NAME)))
