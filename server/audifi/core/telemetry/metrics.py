"""Metrics for Prometheus, served on METRICS_PORT: https://prometheus.io/docs/practices/naming/

Events are counted in plain integers, and turned into Prometheus's metric families when it asks: its own counters take
a lock and look up their labels on each event. No label has a value that a client can choose: routes are templates,
methods and error codes are known ones.
"""

import asyncio
import socket
import threading
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.server import ThreadingHTTPServer
from itertools import accumulate
from time import perf_counter
from typing import override

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    MetricsHandler,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from audifi.core.db.pool import Pool

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds."""
LAG_INTERVAL_SECONDS = 0.5
PROBE_RESULTS = ("connected", "read_only", "saturated", "disconnected")
DRIFT_KINDS = ("balance", "dispute", "refund", "subscription", "suspense")
JOB_RESULTS = ("succeeded", "retried", "failed")
EVENTS = {
    "database_conflicts": ("Transactions that PostgreSQL ended, by reason. Each is a bug.", "reason"),
    "ledger_transfers": ("Posted transfers by kind.", "kind"),
    "statement_lines": ("Lines of imported royalty statements by status.", "status"),
    "plan_refusals": ("Requests that the account's plan refused, by limit or feature.", "key"),
}
"""What the database's users count, with the label."""
DURATIONS = {"ledger_lock_wait_seconds": "How long transfers wait for the rows that they lock."}
"""What they record."""
KNOWN_EVENTS = [
    ("database_conflicts", "deadlock"),
    ("database_conflicts", "serialization_failure"),
    ("statement_lines", "matched"),
    ("statement_lines", "unmatched"),
]


class Histogram:
    """Counts durations by `BUCKETS`."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.sum += seconds

    def add_to(self, family: HistogramMetricFamily, labels: Iterable[str] = ()) -> None:
        bounds = [*map(str, BUCKETS), "+Inf"]
        family.add_metric(list(labels), list(zip(bounds, accumulate(self.counts), strict=True)), self.sum)


class Metrics(Collector):
    """The metrics of one app. A test compares their names with those in ops/grafana and ops/prometheus."""

    def __init__(self, version: str = "") -> None:
        self._version = version
        self.requests_in_flight = 0
        self._requests: defaultdict[tuple[str, str, int], Histogram] = defaultdict(Histogram)
        self._errors: Counter[str] = Counter()
        self._rate_limits: Counter[str] = Counter()
        # A counter that appears with its first event shows Prometheus no increase: known labels start at 0.
        self._probes: Counter[str] = Counter(dict.fromkeys(PROBE_RESULTS, 0))
        self._emails: Counter[str] = Counter({"sent": 0, "failed": 0})
        self._email_events: Counter[str] = Counter()
        self._jobs: Counter[tuple[str, str]] = Counter()
        self._background_restarts: Counter[str] = Counter()
        self._events: Counter[tuple[str, str]] = Counter(dict.fromkeys(KNOWN_EVENTS, 0))
        self._durations = {name: Histogram() for name in DURATIONS}
        self._invariant_violations: dict[str, int] = {}
        self._open_holds = 0
        self._running_ipos: dict[str, tuple[int, float]] = dict.fromkeys(("live", "paused", "canceling"), (0, 0.0))
        self._payout_ages: dict[str, float] = {"requested": 0.0, "submitted": 0.0}
        self._unclaimed_dividends: dict[str, int] = {}
        self._distribution_delay = 0.0
        self._payment_events: Counter[tuple[str, str]] = Counter()
        self._payment_event_ages = Histogram()
        self._open_disputes = {"open": 0, "due_soon": 0}
        self._dropped_syncs: Counter[str] = Counter()
        self._payment_drift: Counter[str] = Counter(dict.fromkeys(DRIFT_KINDS, 0))
        self._provider_calls: defaultdict[tuple[str, str], Histogram] = defaultdict(Histogram)
        self._subscriptions: dict[tuple[str, str], int] = {}
        self._pools: dict[str, tuple[int, Callable[[], int], Callable[[], int]]] = {}
        """By name: the size, and how many connections are in use and idle."""
        self._pool_waits: defaultdict[str, Histogram] = defaultdict(Histogram)
        self._loop_lag = Histogram()
        self.registry = CollectorRegistry()
        self.registry.register(self)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)

    # Counting

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests[method, route, status].observe(seconds)

    def count_error(self, code: str, rate_limit: str | None = None) -> None:
        """
        Args:
            code: the problem's.
            rate_limit: of a 429, the name of the limit that was exceeded.
        """
        self._errors[code] += 1
        if rate_limit:
            self._rate_limits[rate_limit] += 1

    def count_probe(self, result: str) -> None:
        self._probes[result] += 1

    def count_email(self, result: str) -> None:
        self._emails[result] += 1

    def count_email_event(self, event: str) -> None:
        self._email_events[event] += 1

    def count_job(self, job: str, result: str) -> None:
        """
        Args:
            job: the type of job.
            result: of an attempt, one of JOB_RESULTS.
        """
        self._jobs[job, result] += 1

    def record_pool_wait(self, pool: str, seconds: float) -> None:
        """Record how long a task waited for a connection."""
        self._pool_waits[pool].observe(seconds)

    def count_background_restart(self, task: str) -> None:
        self._background_restarts[task] += 1

    def count_event(self, event: str, label: str, count: int = 1) -> None:
        """
        Args:
            event: one of EVENTS.
            label: one of few values, which the code chooses.
            count: how often it occurred.
        """
        self._events[event, label] += count

    def record_duration(self, name: str, seconds: float) -> None:
        """
        Args:
            name: one of DURATIONS.
            seconds: how long it took.
        """
        self._durations[name].observe(seconds)

    def record_open_holds(self, count: int) -> None:
        """Record how many holds of the ledger are open."""
        self._open_holds = count

    def record_running_ipos(self, status: str, count: int, sold_ratio: float) -> None:
        """Record how many offerings have a status, and which part of their shares is sold."""
        self._running_ipos[status] = (count, sold_ratio)

    def record_payout_age(self, status: str, seconds: float) -> None:
        """Record how long the oldest open payout has had its status; 0 if there is none."""
        self._payout_ages[status] = seconds

    def record_unclaimed_dividends(self, currency: str, amount: int) -> None:
        """Record what holders haven't claimed, in base units of a currency."""
        self._unclaimed_dividends[currency] = amount

    def record_distribution_delay(self, seconds: float) -> None:
        """Record for how long the oldest distribution that is due waits to be shared out; 0 if there is none."""
        self._distribution_delay = seconds

    def count_payment_event(self, event_type: str, status: str) -> None:
        """
        Args:
            event_type: Stripe's, of an event that is followed; else `other`.
            status: queued, ignored or duplicate.
        """
        self._payment_events[event_type, status] += 1

    def record_payment_event_age(self, seconds: float) -> None:
        """Record how long ago an event was made when it arrived."""
        self._payment_event_ages.observe(seconds)

    def count_payment_drift(self, kind: str) -> None:
        """Count a difference between the payment provider and the database, of one of DRIFT_KINDS."""
        self._payment_drift[kind] += 1

    def count_dropped_sync(self, kind: str) -> None:
        """Count a fetch that a later one has overtaken."""
        self._dropped_syncs[kind] += 1

    def record_open_disputes(self, count: int, due_soon: int) -> None:
        """Record how many disputes are open, and how many want evidence within 3 days."""
        self._open_disputes = {"open": count, "due_soon": due_soon}

    def record_provider_call(self, call: str, outcome: str, seconds: float) -> None:
        """Record a call to the payment provider, which succeeded, was refused or failed."""
        self._provider_calls[call, outcome].observe(seconds)

    def record_subscriptions(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Record how many live subscriptions there are, by plan and status. One that isn't named has none any more."""
        self._subscriptions = dict.fromkeys(self._subscriptions, 0) | dict(counts)

    def record_invariant(self, name: str, violations: int) -> None:
        """Record what the last check of an invariant found."""
        self._invariant_violations[name] = violations

    # What is there to be counted

    def expect_jobs(self, jobs: Iterable[str]) -> None:
        """Start each counter at 0."""
        self._jobs.update({(job, result): 0 for job in jobs for result in JOB_RESULTS})

    def expect_email_events(self, events: Iterable[str]) -> None:
        """Start each counter at 0."""
        self._email_events.update(dict.fromkeys(events, 0))

    def expect_invariants(self, names: Iterable[str]) -> None:
        """Start each at 0, until the nightly check."""
        self._invariant_violations.update(dict.fromkeys(names, 0))

    def add_pool(self, pool: Pool) -> None:
        self._pools[pool.name] = (pool.size, lambda: pool.in_use, lambda: pool.idle)

    async def measure_event_loop(self) -> None:
        """Measure how late the event loop calls a timer, until cancelled."""
        while True:
            due = perf_counter() + LAG_INTERVAL_SECONDS
            await asyncio.sleep(LAG_INTERVAL_SECONDS)
            self._loop_lag.observe(max(0.0, perf_counter() - due))

    # Exporting

    @override
    def collect(self) -> Iterator[Metric]:
        """Yield all metric families. A thread of the metrics server calls this, so it iterates over copies."""
        requests = HistogramMetricFamily(
            "http_request_duration_seconds",
            "Requests by route and status. 499: the client hung up.",
            labels=["method", "route", "status"],
        )
        for (method, route, status), histogram in list(self._requests.items()):
            histogram.add_to(requests, [method, route, str(status)])
        yield requests
        yield GaugeMetricFamily(
            "http_requests_in_flight", "Requests without a complete response.", self.requests_in_flight
        )
        yield _counter("http_errors", "Problem responses by code.", ["code"], self._errors)
        yield _counter("rate_limit_exceeded", "429 responses by limit.", ["limit"], self._rate_limits)
        yield _counter("database_probes", "Probes of the database by result.", ["result"], self._probes)
        yield _counter("emails", "E-mails by result: sent or failed.", ["result"], self._emails)
        yield _counter("email_events", "The provider's events about e-mails.", ["event"], self._email_events)
        yield _counter("jobs", f"Attempts at jobs by result: {', '.join(JOB_RESULTS)}.", ["job", "result"], self._jobs)
        yield _counter("background_task_restarts", "Restarts of background tasks.", ["task"], self._background_restarts)
        events = list(self._events.items())
        for event, (documentation, label) in EVENTS.items():
            counts = {name: count for (counted, name), count in events if counted == event}
            yield _counter(event, documentation, [label], counts)
        for name, documentation in DURATIONS.items():
            durations = HistogramMetricFamily(name, documentation)
            self._durations[name].add_to(durations)
            yield durations
        yield GaugeMetricFamily("ledger_holds_open", "Open holds of the ledger, at the last sweep.", self._open_holds)
        running_ipos = GaugeMetricFamily("ipos_running", "Offerings that haven't ended, by status.", labels=["status"])
        sold_ratio = GaugeMetricFamily(
            "ipo_sold_ratio", "Sold part of the shares that these offerings offer together.", labels=["status"]
        )
        for ipo_status, (count, ratio) in list(self._running_ipos.items()):
            running_ipos.add_metric([ipo_status], count)
            sold_ratio.add_metric([ipo_status], ratio)
        yield from (running_ipos, sold_ratio)
        ages = GaugeMetricFamily(
            "payouts_age_seconds", "Time for which the oldest open payout has had its status.", labels=["status"]
        )
        for payout_status, seconds in list(self._payout_ages.items()):
            ages.add_metric([payout_status], seconds)
        yield ages
        unclaimed = GaugeMetricFamily(
            "dividend_unclaimed_units", "What holders haven't claimed, in base units.", labels=["currency"]
        )
        for currency, amount in list(self._unclaimed_dividends.items()):
            unclaimed.add_metric([currency], amount)
        yield unclaimed
        yield GaugeMetricFamily(
            "distribution_delay_seconds",
            "Time for which the oldest due distribution has waited to be shared out.",
            self._distribution_delay,
        )
        yield from self._collect_payments()
        subscriptions = GaugeMetricFamily(
            "subscriptions", "Live subscriptions by plan and Stripe's status.", labels=["plan", "status"]
        )
        for (plan, subscription_status), count in self._subscriptions.items():
            subscriptions.add_metric([plan, subscription_status], count)
        yield subscriptions
        violations = GaugeMetricFamily(
            "invariant_violations", "Rows that violated an invariant at the last nightly check.", labels=["invariant"]
        )
        for name, count in list(self._invariant_violations.items()):
            violations.add_metric([name], count)
        yield violations
        yield from self._collect_pools()
        lag = HistogramMetricFamily("event_loop_lag_seconds", "How late the event loop calls a timer.")
        self._loop_lag.add_to(lag)
        yield lag
        build = GaugeMetricFamily("audifi_build_info", "The running version.", labels=["version"])
        build.add_metric([self._version], 1)
        yield build

    def _collect_payments(self) -> Iterator[Metric]:
        yield _counter(
            "payments_events",
            "Events of the payment provider: queued, ignored or duplicate.",
            ["type", "status"],
            self._payment_events,
        )
        ages = HistogramMetricFamily("payments_event_age_seconds", "How old events are when they arrive.")
        self._payment_event_ages.add_to(ages)
        yield ages
        yield _counter(
            "payments_syncs_dropped", "Fetches that a later one has overtaken.", ["kind"], self._dropped_syncs
        )
        yield _counter(
            "payments_drift", "Differences from the payment provider that were found.", ["kind"], self._payment_drift
        )
        disputes = GaugeMetricFamily(
            "disputes_open", "Open disputes; `due_soon`: evidence is wanted within 3 days.", labels=["state"]
        )
        for state, count in list(self._open_disputes.items()):
            disputes.add_metric([state], count)
        yield disputes
        calls = HistogramMetricFamily(
            "payments_provider_seconds",
            "Calls to the payment provider: succeeded, refused or failed.",
            labels=["call", "outcome"],
        )
        for labels, histogram in list(self._provider_calls.items()):
            histogram.add_to(calls, labels)
        yield calls

    def _collect_pools(self) -> Iterator[Metric]:
        connections = GaugeMetricFamily(
            "database_pool_connections", "Connections by state: used or idle.", labels=["pool", "state"]
        )
        limits = GaugeMetricFamily("database_pool_connections_max", "The pool's size.", labels=["pool"])
        waits = HistogramMetricFamily(
            "database_pool_wait_seconds", "How long callers wait for a connection.", labels=["pool"]
        )
        for name, (size, in_use, idle) in list(self._pools.items()):
            connections.add_metric([name, "used"], in_use())
            connections.add_metric([name, "idle"], idle())
            limits.add_metric([name], size)
            self._pool_waits[name].add_to(waits, [name])
        yield from (connections, limits, waits)

    def listen(self, listener: socket.socket) -> None:
        """Serve the metrics on this socket, in daemon threads."""
        handler = MetricsHandler.factory(self.registry)
        server = ThreadingHTTPServer(listener.getsockname(), handler, bind_and_activate=False)
        server.socket.close()
        server.socket = listener
        server.server_activate()
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()


def _counter[Key: str | tuple[str, str]](
    name: str, documentation: str, labels: list[str], counts: Mapping[Key, int]
) -> Metric:
    family = CounterMetricFamily(name, documentation, labels=labels)
    for key, count in list(counts.items()):
        family.add_metric([key] if isinstance(key, str) else list(key), count)
    return family
