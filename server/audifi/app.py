"""Where everything is wired, and the only place that does it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from sqlalchemy.ext.asyncio import async_sessionmaker

from audifi.core.database import create_engine
from audifi.core.proxy import FlyProxyMiddleware
from audifi.core.settings import Settings
from audifi.health import router as health
from audifi.health.probe import DatabaseProbe

POOL_CLOSE_TIMEOUT_SECONDS = 2


def create_app(settings: Settings) -> FastAPI:
    """The ASGI application. Nothing connects before the first request that needs it."""
    engine = create_engine(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        with suppress(TimeoutError):  # a database that is frozen must not keep the process from ending
            async with asyncio.timeout(POOL_CLOSE_TIMEOUT_SECONDS):
                await engine.dispose()

    app = FastAPI(
        title="AudiFi API",
        version=settings.version,
        lifespan=lifespan,
        redirect_slashes=False,  # Fly's check follows no redirect; a wrong path says so
    )
    app.state.sessions = async_sessionmaker(engine, expire_on_commit=False)
    app.state.database_probe = DatabaseProbe(settings)
    app.add_middleware(FlyProxyMiddleware, trusted=settings.trusted_proxies)
    app.include_router(health.router, prefix="/api/v1")
    return app
