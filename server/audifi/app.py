"""Where everything is wired, and the only place that does it."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from sqlalchemy.ext.asyncio import async_sessionmaker

from audifi.api_docs import router as docs
from audifi.api_docs import texts
from audifi.auth import jobs as auth_jobs
from audifi.auth import router as auth
from audifi.auth.revocations import RevokedSessions
from audifi.auth.tokens import Keys
from audifi.core.clock import Clock, utc_now
from audifi.core.config.settings import Settings
from audifi.core.db import retention as housekeeping
from audifi.core.db.connection import create_engine
from audifi.core.db.database import Reads
from audifi.core.db.semaphore import Turns
from audifi.core.email.mailer import ConsoleMailer, Mailer, SendGridMailer
from audifi.core.http.middleware import stack as edge
from audifi.core.http.middleware.concurrency_limit import Overload
from audifi.core.http.middleware.instrumentation import Sight
from audifi.core.jobs.queue import Jobs
from audifi.core.rate_limiting.approximate import Traffic
from audifi.core.rate_limiting.limiter import RateLimiter
from audifi.core.telemetry.error_reporting import Reporter
from audifi.core.telemetry.metrics import Metrics
from audifi.health import router as health
from audifi.health.probe import DatabaseProbe

if TYPE_CHECKING:
    from audifi.core.telemetry.tracing import Traces

POOL_CLOSE_TIMEOUT_SECONDS = 2
HOUSEKEEPING_TIMES = "*/10 * * * *"
# FastAPI's own would send queries, and what exceptions say (docs/decisions/0021-traces.md).
NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


def create_app(settings: Settings, *, clock: Clock = utc_now) -> FastAPI:  # noqa: PLR0915 - what there is to wire
    """The ASGI application. Its jobs run while it does; a database that is away keeps neither from starting."""
    engine = create_engine(settings)
    metrics = Metrics(settings.version)
    turns = Turns(
        settings.database_pool_size + settings.database_pool_max_overflow, settings.database_pool_timeout_seconds
    )
    metrics.engine(engine, turns)
    reads = Reads(settings)
    metrics.reads(reads)
    reporter = Reporter(settings)
    traces = create_traces(settings)
    if traces:
        traces.engine(engine)
        reads.traced = traces.statement
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    keys = Keys(settings)
    mailer = metrics.mailer(create_mailer(settings))
    revoked_sessions = RevokedSessions(engine, clock)
    traffic = Traffic(
        engine,
        clock,
        client_per_minute=settings.client_requests_per_minute,
        account_per_minute=settings.account_requests_per_minute,
        changes_per_day=settings.account_changes_per_day,
    )
    overload = Overload(settings.max_concurrent_requests)
    jobs = Jobs(engine, told=metrics.job, report=reporter)
    kinds = [
        auth_jobs.sign_in_mails(sessions=sessions, keys=keys, mailer=mailer, app_url=settings.app_url, clock=clock),
        auth_jobs.exhausted_codes(sessions=sessions, clock=clock),
    ]
    for kind in kinds:
        jobs.register(traces.job(kind) if traces else kind)
    metrics.expect_jobs(jobs.kinds)

    async def tidy() -> None:
        await housekeeping.prune(engine, [*housekeeping.expired(clock()), *auth_jobs.expired(clock())])

    jobs.schedule("housekeeping", HOUSEKEEPING_TIMES, tidy)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        following = [asyncio.create_task(revoked_sessions.follow()), asyncio.create_task(traffic.follow())]
        following.append(asyncio.create_task(metrics.follow()))
        jobs.start()
        async with reads:
            yield
        await jobs.stop()
        for task in following:
            task.cancel()
        await mailer.close()
        flushing = asyncio.gather(asyncio.to_thread(reporter.close), *([traces.close()] if traces else []))
        with suppress(TimeoutError):  # a database that is frozen must not keep the process from ending
            async with asyncio.timeout(POOL_CLOSE_TIMEOUT_SECONDS):
                await engine.dispose()
        await flushing

    app = FastAPI(
        title="AudiFi API",
        summary=texts.SUMMARY,
        description=texts.DESCRIPTION,
        version=settings.version,
        license_info=texts.LICENSE,
        openapi_tags=texts.TAGS,
        openapi_url="/openapi.json" if settings.docs_enabled else None,
        docs_url=None,  # audifi/docs has its own, whose assets are ours
        redoc_url=None,
        lifespan=lifespan,
        telemetry=NO_TELEMETRY,
        redirect_slashes=False,  # Fly's check follows no redirect; a wrong path says so
    )
    app.state.settings = settings
    app.state.clock = clock
    app.state.sessions = sessions
    app.state.turns = turns
    app.state.reads = reads
    app.state.database_probe = DatabaseProbe(settings, told=metrics.probed)
    app.state.keys = keys
    app.state.revoked_sessions = revoked_sessions
    app.state.rate_limiter = RateLimiter(engine)
    app.state.jobs = jobs
    app.state.traffic = traffic
    app.state.overload = overload
    app.state.metrics = metrics
    edge.install(
        app,
        allowed_origins=settings.origins,
        trusted_proxies=settings.trusted_proxies,
        traffic=traffic,
        overload=overload,
        first={health.PATH: health.answer},
        sight=Sight(metrics, reporter, traces),
    )
    for feature in (health, auth):
        # Not include_router: what it includes is looked for in two steps, which take a tenth of a read's time.
        app.router.routes.extend(feature.router.routes)
    docs.install(app, enabled=settings.docs_enabled)
    return app


def create_traces(settings: Settings) -> "Traces | None":
    """OpenTelemetry's SDK takes long to import."""
    if settings.otel_exporter_otlp_endpoint is None:
        return None
    from audifi.core.telemetry.tracing import Traces  # noqa: PLC0415 - OpenTelemetry, only where it is wanted

    return Traces(settings)


def create_mailer(settings: Settings) -> Mailer:
    """SendGrid's where there is a key for it; else, in development, one that prints."""
    if settings.sendgrid_api_key and (api_key := settings.sendgrid_api_key.get_secret_value()):
        return SendGridMailer(api_url=settings.sendgrid_api_url, api_key=api_key, sender=settings.mail_sender)
    return ConsoleMailer(folder=settings.mail_folder, stream=sys.stdout)
