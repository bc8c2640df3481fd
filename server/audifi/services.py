"""The objects that live as long as the process: built once from the settings, started and closed by the lifespan."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from audifi.auth.revocations import RevokedSessions
from audifi.auth.tokens import Keys
from audifi.core import invariants
from audifi.core.background import BackgroundTasks
from audifi.core.clock import Clock, utc_now
from audifi.core.config.derived_keys import derive_key
from audifi.core.config.settings import Settings
from audifi.core.db import retention
from audifi.core.db.connection import create_engine
from audifi.core.db.database import Database, untraced
from audifi.core.db.pagination import CursorCodec
from audifi.core.db.semaphore import FairSemaphore
from audifi.core.email.sender import ConsoleSender, CountedSender, EmailSender, SendGridSender
from audifi.core.feature import Feature
from audifi.core.http.middleware.concurrency_limit import ConcurrencyLimit
from audifi.core.idempotency.service import expired_keys
from audifi.core.jobs.queue import Jobs, Kind
from audifi.core.rate_limiting.approximate import ApproximateRateLimiter, ReplicatedCounters
from audifi.core.rate_limiting.exact import RateLimiter
from audifi.core.rate_limiting.limits import CounterKeys, Limit
from audifi.core.telemetry.error_reporting import ErrorReporter
from audifi.core.telemetry.metrics import Metrics
from audifi.health.probe import DatabaseProbe

if TYPE_CHECKING:
    from audifi.core.telemetry.tracing import Tracer

POOL_CLOSE_TIMEOUT_SECONDS = 2
MINUTE = timedelta(minutes=1)
RETENTION_TIMES = "*/10 * * * *"


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything a request or a job may need. `services_of(request)` returns it."""

    settings: Settings
    clock: Clock
    engine: AsyncEngine
    sessions: async_sessionmaker[AsyncSession]
    turns: FairSemaphore
    database: Database
    jobs: Jobs
    rate_limiter: RateLimiter
    request_limiter: ApproximateRateLimiter
    concurrency_limit: ConcurrencyLimit
    metrics: Metrics
    error_reporter: ErrorReporter
    tracer: "Tracer | None"
    email_sender: EmailSender
    keys: Keys
    cursors: CursorCodec
    revoked_sessions: RevokedSessions
    database_probe: DatabaseProbe


def build_services(settings: Settings, *, clock: Clock = utc_now) -> Services:
    """Build everything. Nothing connects yet: a database that is unavailable doesn't keep the server from starting."""
    engine = create_engine(settings)
    metrics = Metrics(settings.version)
    turns = FairSemaphore(
        settings.database_pool_size + settings.database_pool_max_overflow,
        settings.database_pool_timeout_seconds,
        on_wait=lambda seconds: metrics.record_pool_wait("transactions", seconds),
    )
    metrics.add_engine(engine, turns)
    error_reporter = ErrorReporter(settings)
    tracer = _create_tracer(settings)
    if tracer:
        tracer.engine(engine)
    counter_keys = CounterKeys(settings.jwt_secret)
    database = Database(
        settings,
        pool_size=1,
        read_pool_size=settings.database_read_pool_size,
        on_wait=metrics.record_pool_wait,
        trace=tracer.statement if tracer else untraced,
    )
    metrics.add_pool(database.pools[1])
    return Services(
        settings=settings,
        clock=clock,
        engine=engine,
        sessions=async_sessionmaker(engine, expire_on_commit=False),
        turns=turns,
        database=database,
        jobs=Jobs(engine, told=metrics.count_job, report=error_reporter),
        rate_limiter=RateLimiter(engine, counter_keys),
        request_limiter=ApproximateRateLimiter(
            ReplicatedCounters(engine, counter_keys),
            clock,
            per_client=Limit("client", settings.client_requests_per_minute, per=MINUTE),
            per_account=Limit("account", settings.account_requests_per_minute, per=MINUTE),
        ),
        concurrency_limit=ConcurrencyLimit(settings.max_concurrent_requests),
        metrics=metrics,
        error_reporter=error_reporter,
        tracer=tracer,
        email_sender=CountedSender(_create_email_sender(settings), metrics.count_email),
        keys=Keys(settings),
        cursors=_create_cursor_codec(settings),
        revoked_sessions=RevokedSessions(engine, clock),
        database_probe=DatabaseProbe(settings, on_result=metrics.count_probe),
    )


@asynccontextmanager
async def running(
    services: Services, features: Sequence[Feature], *, retention_times: str = RETENTION_TIMES
) -> AsyncIterator[None]:
    """Run the jobs and background tasks of the features, and close everything at the end.

    Args:
        services: from `build_services`.
        features: whose jobs run, and whose old rows are deleted.
        retention_times: when that happens, in UTC (crontab(5)).
    """
    for feature in features:
        for job_type in feature.jobs(services):
            services.jobs.register(_with_spans(job_type, services.tracer))
    services.metrics.expect_jobs(services.jobs.kinds)

    async def delete_expired() -> None:
        now = services.clock()
        expired = [*retention.expired(now), expired_keys(now)]
        expired += [rows for feature in features for rows in feature.retention(now)]
        await retention.prune(services.engine, expired)

    async def check_invariants() -> None:
        rules = [invariant for feature in features for invariant in feature.invariants]
        await invariants.check_nightly(services.settings, rules, services.metrics.record_invariant)

    services.jobs.schedule("retention", retention_times, delete_expired)
    services.jobs.schedule("invariants", invariants.CHECK_TIMES, check_invariants)
    background = BackgroundTasks(
        {
            "revoked_sessions": services.revoked_sessions.follow,
            "request_limiter": services.request_limiter.run,
            "event_loop_lag": services.metrics.measure_event_loop,
        },
        on_restart=services.metrics.count_background_restart,
    )
    async with background:
        services.jobs.start()
        async with services.database:
            yield
        await services.jobs.stop()
    await services.email_sender.close()
    flushing = asyncio.gather(
        asyncio.to_thread(services.error_reporter.close), *([services.tracer.close()] if services.tracer else [])
    )
    with suppress(TimeoutError):  # a frozen database must not keep the process from ending
        async with asyncio.timeout(POOL_CLOSE_TIMEOUT_SECONDS):
            await services.engine.dispose()
    await flushing


def _create_cursor_codec(settings: Settings) -> CursorCodec:
    secrets = [secret for secret in (settings.jwt_secret, settings.jwt_secret_previous) if secret]
    return CursorCodec([derive_key(secret, "list cursor") for secret in secrets])


def _create_tracer(settings: Settings) -> "Tracer | None":
    if settings.otel_exporter_otlp_endpoint is None:
        return None
    from audifi.core.telemetry.tracing import Tracer  # noqa: PLC0415 - OpenTelemetry is slow to import

    return Tracer(settings)


def _with_spans(job_type: Kind, tracer: "Tracer | None") -> Kind:
    return replace(job_type, handler=tracer.trace_job(job_type.name, job_type.handler)) if tracer else job_type


def _create_email_sender(settings: Settings) -> EmailSender:
    """Return SendGrid's where there is a key for it; else, in development, one that prints."""
    if settings.sendgrid_api_key and (api_key := settings.sendgrid_api_key.get_secret_value()):
        return SendGridSender(api_url=settings.sendgrid_api_url, api_key=api_key, sender=settings.mail_sender)
    return ConsoleSender(folder=settings.mail_folder, stream=sys.stdout)
