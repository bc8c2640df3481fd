"""Metrics for Prometheus, served on METRICS_PORT.

Events are counted in plain integers, and turned into Prometheus's families when it asks: its own counters take a lock
and look up their labels on each event.
"""

import asyncio
import socket
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.server import ThreadingHTTPServer
from itertools import accumulate
from time import perf_counter
from typing import Any, override

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    MetricsHandler,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from audifi.core.db.database import CONFLICTS
from audifi.core.db.pool import Pool
from audifi.core.measures import Measure

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds."""
LAG_INTERVAL_SECONDS = 0.5
JOB_RESULTS = ("succeeded", "retried", "failed")

REQUESTS = Measure(
    kind="histogram",
    name="http_request_duration_seconds",
    documentation="Requests by route and status. 499: the client hung up.",
    labels=("method", "route", "status"),
)
REQUESTS_IN_FLIGHT = Measure(
    kind="gauge", name="http_requests_in_flight", documentation="Requests without a complete response."
)
ERRORS = Measure(kind="counter", name="http_errors", documentation="Problem responses by code.", labels=("code",))
RATE_LIMITS = Measure(
    kind="counter", name="rate_limit_exceeded", documentation="429 responses by limit.", labels=("limit",)
)
PROBES = Measure(
    kind="counter",
    name="database_probes",
    documentation="Probes of the database by result.",
    labels=("result",),
    known=(("connected",), ("read_only",), ("saturated",), ("disconnected",)),
)
EMAILS = Measure(
    kind="counter",
    name="emails",
    documentation="E-mails by result: sent or failed.",
    labels=("result",),
    known=(("sent",), ("failed",)),
)
JOBS = Measure(
    kind="counter",
    name="jobs",
    documentation=f"Attempts at jobs by result: {', '.join(JOB_RESULTS)}.",
    labels=("job", "result"),
)
RESTARTS = Measure(
    kind="counter",
    name="background_task_restarts",
    documentation="Restarts of background tasks.",
    labels=("task",),
)
INVARIANT_VIOLATIONS = Measure(
    kind="gauge",
    name="invariant_violations",
    documentation="Rows that violated an invariant at the last nightly check.",
    labels=("invariant",),
)
POOL_CONNECTIONS = Measure(
    kind="gauge",
    name="database_pool_connections",
    documentation="Connections by state: used or idle.",
    labels=("pool", "state"),
)
POOL_SIZE = Measure(
    kind="gauge", name="database_pool_connections_max", documentation="The pool's size.", labels=("pool",)
)
POOL_WAITS = Measure(
    kind="histogram",
    name="database_pool_wait_seconds",
    documentation="How long callers wait for a connection.",
    labels=("pool",),
)
LOOP_LAG = Measure(
    kind="histogram", name="event_loop_lag_seconds", documentation="How late the event loop calls a timer."
)
BUILD = Measure(kind="gauge", name="audifi_build_info", documentation="The running version.", labels=("version",))
MEASURES = (REQUESTS_IN_FLIGHT, PROBES, EMAILS, CONFLICTS, LOOP_LAG)


FAMILIES: Mapping[str, Callable[..., Any]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


class Histogram:
    """Counts durations by `BUCKETS`."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.sum += seconds


class Metrics(Collector):
    """The metrics of one app."""

    def __init__(self, version: str = "") -> None:
        self._values: dict[Measure, dict[tuple[str, ...], Any]] = {}
        """Of each measure, by its labels: a number, a histogram, or a function that returns a number."""
        self.requests_in_flight = 0
        self.expect(MEASURES)
        self._values[REQUESTS_IN_FLIGHT][()] = lambda: self.requests_in_flight
        self.set(BUILD, 1, version)
        self.registry = CollectorRegistry()
        self.registry.register(self)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)

    def expect(self, measures: Iterable[Measure]) -> None:
        """Export measures from now on: those without labels, and the known ones, start at 0."""
        for measure in measures:
            series = self._values.setdefault(measure, {})
            for labels in measure.known if measure.labels else ((),):
                series.setdefault(labels, Histogram() if measure.kind == "histogram" else 0)

    def count(self, measure: Measure, *labels: str, by: int = 1) -> None:
        """Add to a counter."""
        series = self._values.setdefault(measure, {})
        series[labels] = series.get(labels, 0) + by

    def set(self, measure: Measure, value: float, *labels: str) -> None:
        """Set a gauge."""
        self._values.setdefault(measure, {})[labels] = value

    def set_all(self, measure: Measure, values: Mapping[tuple[str, ...], float]) -> None:
        """Set all of a gauge: one that isn't named has become 0."""
        self._values[measure] = dict.fromkeys(self._values.get(measure, {}), 0) | dict(values)

    def observe(self, measure: Measure, seconds: float, *labels: str) -> None:
        """Record a duration."""
        series = self._values.setdefault(measure, {})
        histogram = series.get(labels) or series.setdefault(labels, Histogram())
        histogram.observe(seconds)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        self.observe(REQUESTS, seconds, method, route, str(status))

    def count_error(self, code: str, rate_limit: str | None = None) -> None:
        """
        Args:
            code: the problem's.
            rate_limit: of a 429, the name of the limit that was exceeded.
        """
        self.count(ERRORS, code)
        if rate_limit:
            self.count(RATE_LIMITS, rate_limit)

    def expect_jobs(self, jobs: Iterable[str]) -> None:
        """Start each counter at 0."""
        for job in jobs:
            for result in JOB_RESULTS:
                self.count(JOBS, job, result, by=0)

    def add_pool(self, pool: Pool) -> None:
        connections = self._values.setdefault(POOL_CONNECTIONS, {})
        connections[pool.name, "used"] = lambda: pool.in_use
        connections[pool.name, "idle"] = lambda: pool.idle
        self.set(POOL_SIZE, pool.size, pool.name)
        self._values.setdefault(POOL_WAITS, {})[pool.name,] = Histogram()

    def record_pool_wait(self, pool: str, seconds: float) -> None:
        """Record how long a task waited for a connection."""
        self.observe(POOL_WAITS, seconds, pool)

    async def measure_event_loop(self) -> None:
        """Measure how late the event loop calls a timer, until cancelled."""
        while True:
            due = perf_counter() + LAG_INTERVAL_SECONDS
            await asyncio.sleep(LAG_INTERVAL_SECONDS)
            self.observe(LOOP_LAG, max(0.0, perf_counter() - due))

    @override
    def collect(self) -> Iterator[Metric]:
        """Yield all metric families. A thread of the metrics server calls this, so it iterates over copies."""
        for measure, series in list(self._values.items()):
            family = FAMILIES[measure.kind](measure.name, measure.documentation, labels=measure.labels)
            for labels, value in list(series.items()):
                if isinstance(value, Histogram):
                    counts = zip((*map(str, BUCKETS), "+Inf"), accumulate(value.counts), strict=True)
                    family.add_metric(labels, list(counts), value.sum)
                else:
                    family.add_metric(labels, value() if callable(value) else value)
            yield family

    def listen(self, listener: socket.socket) -> None:
        """Serve the metrics on this socket, in daemon threads."""
        handler = MetricsHandler.factory(self.registry)
        server = ThreadingHTTPServer(listener.getsockname(), handler, bind_and_activate=False)
        server.socket.close()
        server.socket = listener
        server.server_activate()
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
