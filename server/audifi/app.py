"""The FastAPI application: the features, and the middleware around them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from audifi.api_docs import router as api_docs
from audifi.api_docs import texts
from audifi.auth.feature import FEATURE as AUTH
from audifi.compliance.feature import FEATURE as COMPLIANCE
from audifi.core.feature import Feature
from audifi.core.http.middleware.stack import add_middleware
from audifi.dividends.feature import FEATURE as DIVIDENDS
from audifi.emails.feature import FEATURE as EMAILS
from audifi.funding.feature import FEATURE as FUNDING
from audifi.health.feature import FEATURE as HEALTH
from audifi.health.router import PATH as HEALTH_PATH
from audifi.ipos.feature import FEATURE as IPOS
from audifi.ledger.feature import FEATURE as LEDGER
from audifi.masters.feature import FEATURE as MASTERS
from audifi.notices.feature import FEATURE as NOTICES
from audifi.payments.feature import FEATURE as PAYMENTS
from audifi.payments.webhook_router import WEBHOOK_PATHS
from audifi.resale.feature import FEATURE as RESALE
from audifi.royalties.feature import FEATURE as ROYALTIES
from audifi.services import RETENTION_TIMES, Services, running
from audifi.subscriptions.feature import FEATURE as SUBSCRIPTIONS

# The first route that matches a path answers it: /masters/holdings before /masters/{master_id}.
FEATURES: tuple[Feature, ...] = (
    HEALTH,
    AUTH,
    EMAILS,
    LEDGER,
    COMPLIANCE,
    FUNDING,
    PAYMENTS,
    IPOS,
    RESALE,
    MASTERS,
    SUBSCRIPTIONS,
    DIVIDENDS,
    ROYALTIES,
    NOTICES,
)
# FastAPI's own telemetry would send queries and exception messages (docs/decisions/0020-telemetry.md).
NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


def create_app(
    services: Services, *, features: Sequence[Feature] = FEATURES, retention_times: str = RETENTION_TIMES
) -> FastAPI:
    """Return the ASGI application. Its jobs run while it does."""
    settings = services.settings

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with running(services, features, retention_times=retention_times):
            yield

    app = FastAPI(
        title="AudiFi API",
        summary=texts.SUMMARY,
        description=texts.DESCRIPTION,
        version=settings.version,
        license_info=texts.LICENSE,
        openapi_tags=[{"name": feature.name, "description": feature.description} for feature in features],
        openapi_url="/openapi.json" if settings.docs_enabled else None,
        docs_url=None,  # api_docs serves its own, without a third party's assets
        redoc_url=None,
        lifespan=lifespan,
        telemetry=NO_TELEMETRY,
        redirect_slashes=False,  # Fly's health check follows no redirect
    )
    app.state.services = services
    app.state.deletion_guards = [feature.deletion_guard for feature in features if feature.deletion_guard]
    add_middleware(
        app,
        allowed_origins=settings.origins,
        trusted_proxies=settings.trusted_proxies,
        trusted_callers=settings.trusted_callers,
        request_limiter=services.request_limiter,
        concurrency_limit=services.concurrency_limit,
        unlimited_paths=frozenset({HEALTH_PATH}),
        uncounted_paths=WEBHOOK_PATHS,
        metrics=services.metrics,
        report=services.error_reporter,
        tracer=services.tracer,
    )
    for feature in features:
        # Not include_router: what it includes is matched in two steps, which take a tenth of a read's time.
        app.router.routes.extend(feature.router.routes)
    api_docs.install(app, enabled=settings.docs_enabled)
    return app
