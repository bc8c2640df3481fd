"""What Prometheus gets to see, on a port of its own: https://prometheus.io/docs/practices/naming/

No label has a value that a client could make up: routes are templates, methods and errors those that are known.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterable
from http.server import ThreadingHTTPServer
from time import perf_counter

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    MetricsHandler,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

from audifi.core.db.pool import Pool
from audifi.core.db.semaphore import FairSemaphore
from audifi.core.email.sender import Email, EmailError, EmailSender

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Histograms' bounds: what a request, or a wait, takes."""
LAG_EVERY_SECONDS = 0.5


class Metrics:
    """Of one app. The names are a contract with ops/grafana and with alerts; a test holds them together."""

    def __init__(self, version: str = "") -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each, of no use to Prometheus
        registry = self.registry = CollectorRegistry()
        self._requests = Histogram(
            "http_request_duration_seconds",
            "Requests by route and answer; 499 is a client that hung up.",
            ["method", "route", "status"],
            buckets=SECONDS,
            registry=registry,
        )
        self._observers: dict[tuple[str, str, int], Callable[[float], None]] = {}
        self._error_counters: dict[str, Callable[[], None]] = {}
        self.in_flight = 0
        Gauge("http_requests_in_flight", "Requests that wait for their answer.", registry=registry).set_function(
            lambda: self.in_flight
        )
        self._errors = Counter("http_errors", "Answers that are problems, by their code.", ["code"], registry=registry)
        self._refusals = Counter("rate_limit_refusals", "429s, by the limit.", ["limit"], registry=registry)
        self._probes = Counter(
            "db_probe", "Health's questions to the database: connected, disconnected.", ["result"], registry=registry
        )
        self._mails = Counter("mails", "Mails handed over: sent, failed.", ["result"], registry=registry)
        self._jobs = Counter(
            "jobs", "Attempts at jobs: done, to be tried again, given up.", ["job", "result"], registry=registry
        )
        self._pool_size = Gauge(
            "db_pool_connections", "Connections to the database.", ["pool", "state"], registry=registry
        )
        self._pool_limit = Gauge("db_pool_connections_max", "As many as there can be.", ["pool"], registry=registry)
        self._pool_wait = Histogram(
            "db_pool_wait_seconds",
            "How long requests wait for their turn to have a connection.",
            ["pool"],
            buckets=SECONDS,
            registry=registry,
        )
        self._loop_lag = Histogram(
            "event_loop_lag_seconds",
            "How much later than it should a timer goes off: what every request waits for, too.",
            buckets=SECONDS,
            registry=registry,
        )
        Gauge("audifi_build_info", "Which version runs.", ["version"], registry=registry).labels(version).set(1)
        self._background_restarts = Counter(
            "background_task_restarts", "Background tasks that ended and were restarted.", ["task"], registry=registry
        )
        self._known_from_the_start()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)

    def _known_from_the_start(self) -> None:
        """A counter that appears with its first event shows Prometheus no increase (practices/instrumentation)."""
        for result in ("connected", "disconnected"):
            self._probes.labels(result)
        for result in ("sent", "failed"):
            self._mails.labels(result)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        key = (method, route, status)
        observe = self._observers.get(key)
        if observe is None:  # labels() costs more than what it leads to
            observe = self._observers[key] = self._requests.labels(method, route, str(status)).observe
        observe(seconds)

    def error(self, code: str, limit: str | None = None) -> None:
        count = self._error_counters.get(code)
        if count is None:
            count = self._error_counters[code] = self._errors.labels(code).inc
        count()
        if limit:
            self._refusals.labels(limit).inc()

    def probed(self, connected: bool) -> None:  # noqa: FBT001 - the probe's only word
        self._probes.labels("connected" if connected else "disconnected").inc()

    def background_task_restarted(self, task: str) -> None:
        self._background_restarts.labels(task).inc()

    def job(self, kind: str, result: str) -> None:
        self._jobs.labels(kind, result).inc()

    def expect_jobs(self, kinds: Iterable[str]) -> None:
        for kind in kinds:
            for result in ("done", "retried", "given_up"):
                self._jobs.labels(kind, result)

    def mailer(self, mailer: EmailSender) -> EmailSender:
        """The same, counted."""
        return _CountedSender(mailer, self._mails)

    def pool_waited(self, pool: str, seconds: float) -> None:
        """Record how long a task waited for a connection of a pool."""
        self._pool_wait.labels(pool).observe(seconds)

    def watch_pool(self, pool: Pool) -> None:
        """Show the connections of a pool."""
        self._pool_size.labels(pool.name, "used").set_function(lambda: pool.in_use)
        self._pool_size.labels(pool.name, "idle").set_function(lambda: pool.idle)
        self._pool_limit.labels(pool.name).set(pool.size)
        self._pool_wait.labels(pool.name)

    def engine(self, engine: AsyncEngine, semaphore: FairSemaphore) -> None:
        """Show SQLAlchemy's pool."""
        pool = engine.sync_engine.pool
        assert isinstance(pool, QueuePool)  # noqa: S101 - core/db/connection makes no other for the server
        self._pool_size.labels("transactions", "used").set_function(pool.checkedout)
        self._pool_size.labels("transactions", "idle").set_function(pool.checkedin)
        self._pool_limit.labels("transactions").set(semaphore.size)

    async def follow(self) -> None:
        """Measure the event loop, for ever."""
        while True:
            due = perf_counter() + LAG_EVERY_SECONDS
            await asyncio.sleep(LAG_EVERY_SECONDS)
            self._loop_lag.observe(max(0, perf_counter() - due))

    def listen(self, listener: socket.socket) -> None:
        """Answer each GET there with all of it, in threads that don't keep the process from ending."""
        handler = MetricsHandler.factory(self.registry)
        server = ThreadingHTTPServer(listener.getsockname(), handler, bind_and_activate=False)
        server.socket.close()
        server.socket = listener
        server.server_activate()
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()


class _CountedSender:
    def __init__(self, mailer: EmailSender, counter: Counter) -> None:
        self._mailer = mailer
        self._counter = counter

    async def send(self, mail: Email) -> None:
        try:
            await self._mailer.send(mail)
        except EmailError:
            self._counter.labels("failed").inc()
            raise
        self._counter.labels("sent").inc()

    async def close(self) -> None:
        await self._mailer.close()
