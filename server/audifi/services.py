"""The objects that live as long as the process: built once from the settings, started and closed by the lifespan."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from audifi.auth.revocations import RevokedSessions
from audifi.auth.session_checks import SessionChecks
from audifi.auth.tokens import Keys
from audifi.core import invariants
from audifi.core.background import BackgroundTasks
from audifi.core.clock import Clock, utc_now
from audifi.core.config.derived_keys import derive_key
from audifi.core.config.settings import Settings
from audifi.core.db.database import Database, untraced
from audifi.core.db.pagination import CursorCodec
from audifi.core.db.retention import delete_expired
from audifi.core.domain_events.service import expired_events
from audifi.core.email.sender import ConsoleSender, CountedSender, EmailSender, SendGridSender
from audifi.core.feature import Feature
from audifi.core.files.store import FileStore
from audifi.core.http.middleware.concurrency_limit import ConcurrencyLimit
from audifi.core.idempotency.service import expired_keys
from audifi.core.jobs.queue import JobQueue, JobType, Schedule, expired_jobs
from audifi.core.rate_limiting.approximate import ApproximateRateLimiter, ReplicatedCounters
from audifi.core.rate_limiting.exact import RateLimiter
from audifi.core.rate_limiting.limits import CounterKeys, Limit
from audifi.core.rate_limiting.retention import expired_counters
from audifi.core.telemetry.error_reporting import ErrorReporter
from audifi.core.telemetry.metrics import EMAILS, INVARIANT_VIOLATIONS, JOBS, PROBES, RESTARTS, Metrics
from audifi.emails.records import AddressHashes, RecordingSender
from audifi.funding.providers import DevelopmentProvider, PayoutProvider
from audifi.health.probe import DatabaseProbe
from audifi.payments.client import Stripe
from audifi.payments.measures import CALLS
from audifi.payments.payouts import StripePayouts
from audifi.payments.syncs import SyncKinds

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
    database: Database
    """For requests."""
    background_database: Database
    """For rate limits, jobs, polling and retention. A request that holds a connection may wait for this one."""
    jobs: JobQueue
    rate_limiter: RateLimiter
    request_limiter: ApproximateRateLimiter
    concurrency_limit: ConcurrencyLimit
    metrics: Metrics
    error_reporter: ErrorReporter
    tracer: "Tracer | None"
    email_sender: EmailSender
    files: FileStore
    stripe: Stripe
    syncs: SyncKinds
    """The kinds of Stripe's objects that are synchronized: `Feature.syncs` of all features."""
    payout_provider: PayoutProvider | None
    """Sends payouts; None: operators do."""
    keys: Keys
    cursors: CursorCodec
    revoked_sessions: RevokedSessions
    session_checks: SessionChecks
    database_probe: DatabaseProbe


def build_services(settings: Settings, *, clock: Clock = utc_now) -> Services:
    """Build everything. Nothing connects yet: a database that is unavailable doesn't keep the server from starting."""
    metrics = Metrics(settings.version)
    error_reporter = ErrorReporter(settings)
    tracer = _create_tracer(settings)
    trace = tracer.statement if tracer else untraced
    database = Database(
        settings,
        pool_size=settings.database_pool_size,
        read_pool_size=settings.database_read_pool_size,
        on_wait=metrics.record_pool_wait,
        on_event=metrics.count,
        on_duration=metrics.observe,
        trace=trace,
    )
    background_database = Database(
        settings,
        name="background",
        pool_size=settings.database_background_pool_size,
        read_pool_size=1,
        on_wait=metrics.record_pool_wait,
        on_event=metrics.count,
        on_duration=metrics.observe,
        trace=trace,
    )
    for pool in (*database.pools, *background_database.pools):
        metrics.add_pool(pool)
    counter_keys = CounterKeys(settings.jwt_secret)
    stripe = Stripe(settings, on_call=lambda call, outcome, seconds: metrics.observe(CALLS, seconds, call, outcome))
    return Services(
        settings=settings,
        clock=clock,
        database=database,
        background_database=background_database,
        jobs=JobQueue(background_database, on_result=partial(metrics.count, JOBS), report=error_reporter),
        rate_limiter=RateLimiter(background_database, counter_keys, factor=settings.rate_limit_factor),
        request_limiter=ApproximateRateLimiter(
            ReplicatedCounters(background_database, counter_keys),
            clock,
            per_client=Limit("client", settings.client_requests_per_minute, per=MINUTE),
            per_account=Limit("account", settings.account_requests_per_minute, per=MINUTE),
            factor=settings.rate_limit_factor,
        ),
        concurrency_limit=ConcurrencyLimit(settings.max_concurrent_requests),
        metrics=metrics,
        error_reporter=error_reporter,
        tracer=tracer,
        email_sender=RecordingSender(
            CountedSender(_create_email_sender(settings), partial(metrics.count, EMAILS)),
            database=background_database,
            hashes=AddressHashes([settings.jwt_secret, settings.jwt_secret_previous]),
            clock=clock,
        ),
        files=create_file_store(settings),
        stripe=stripe,
        syncs=SyncKinds(),
        payout_provider=_create_payout_provider(settings, stripe, background_database, clock),
        keys=Keys(settings),
        cursors=_create_cursor_codec(settings),
        revoked_sessions=RevokedSessions(background_database, clock),
        session_checks=SessionChecks(database),
        database_probe=DatabaseProbe(
            settings, is_pool_reachable=database.is_reachable, on_result=partial(metrics.count, PROBES)
        ),
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
        services.syncs.register(feature.syncs)
        services.metrics.expect(feature.measures)
        for job_type in feature.jobs(services):
            services.jobs.register(_with_spans(job_type, services.tracer))
    services.metrics.expect_jobs(services.jobs.job_types)
    rules = [invariant for feature in features for invariant in feature.invariants]
    violations = partial(services.metrics.set, INVARIANT_VIOLATIONS)
    for rule in rules:
        violations(0, rule.name)

    async def run_retention() -> None:
        now = services.clock()
        expired = [*expired_counters(now), *expired_jobs(now), expired_keys(now), expired_events(now)]
        expired += [rows for feature in features for rows in feature.retention(now)]
        await delete_expired(services.background_database, expired)
        for feature in features:
            await feature.clean_up(services)

    async def check_invariants() -> None:
        await invariants.check_nightly(services.settings, rules, lambda name, rows: violations(rows, name))

    services.jobs.schedule(Schedule(name="retention", cron=retention_times, run=run_retention))
    services.jobs.schedule(Schedule(name="invariants", cron=invariants.CHECK_TIMES, run=check_invariants))
    for schedule in (schedule for feature in features for schedule in feature.schedules(services)):
        services.jobs.schedule(schedule)
    background = BackgroundTasks(
        {
            "revoked_sessions": services.revoked_sessions.run,
            "request_limiter": services.request_limiter.run,
            "event_loop_lag": services.metrics.measure_event_loop,
        },
        on_restart=partial(services.metrics.count, RESTARTS),
    )
    async with background:
        services.jobs.start()
        yield
        await services.jobs.stop()
    await services.email_sender.close()
    await services.files.close()
    await services.stripe.close()
    flushing = asyncio.gather(
        asyncio.to_thread(services.error_reporter.close), *([services.tracer.close()] if services.tracer else [])
    )
    with suppress(TimeoutError):  # a frozen database must not keep the process from ending
        async with asyncio.timeout(POOL_CLOSE_TIMEOUT_SECONDS):
            await services.database.close()
            await services.background_database.close()
    await flushing


def create_file_store(settings: Settings) -> FileStore:
    return FileStore(
        endpoint=settings.files_endpoint,
        bucket=settings.files_bucket,
        key_id=settings.files_key_id.get_secret_value(),
        secret=settings.files_secret.get_secret_value(),
    )


def _create_payout_provider(
    settings: Settings, stripe: Stripe, database: Database, clock: Clock
) -> PayoutProvider | None:
    if stripe.is_configured:
        return StripePayouts(stripe, database, clock, recent_days=settings.deposit_payout_days)
    return DevelopmentProvider() if settings.funding == "development" else None


def _create_cursor_codec(settings: Settings) -> CursorCodec:
    secrets = [secret for secret in (settings.jwt_secret, settings.jwt_secret_previous) if secret]
    return CursorCodec([derive_key(secret, "list cursor") for secret in secrets])


def _create_tracer(settings: Settings) -> "Tracer | None":
    if settings.otel_exporter_otlp_endpoint is None:
        return None
    from audifi.core.telemetry.tracing import Tracer  # noqa: PLC0415 - OpenTelemetry is slow to import

    return Tracer(settings)


def _with_spans(job_type: JobType, tracer: "Tracer | None") -> JobType:
    return replace(job_type, handler=tracer.trace_job(job_type.name, job_type.handler)) if tracer else job_type


def _create_email_sender(settings: Settings) -> EmailSender:
    """Return SendGrid's where there is a key for it; else, in development, one that prints."""
    if settings.sendgrid_api_key and (api_key := settings.sendgrid_api_key.get_secret_value()):
        return SendGridSender(api_url=settings.sendgrid_api_url, api_key=api_key, sender=settings.mail_sender)
    return ConsoleSender(folder=settings.mail_folder, stream=sys.stdout)
