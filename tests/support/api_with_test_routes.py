"""The API with routes that tests need: slow ones, some that hold a connection, and one that shows the client."""

import asyncio
import os
import time
from datetime import timedelta

from fastapi import FastAPI, Request
from sqlalchemy import Text, bindparam, select

from audifi import serve as server
from audifi.app import create_app
from audifi.core.config.settings import Settings, load
from audifi.core.db.statements import Statement
from audifi.core.http.dependencies import DatabaseDep, services_of
from audifi.core.rate_limiting.limits import Limit
from audifi.core.telemetry import logging as logs
from audifi.serve import EXIT_WITHIN_SECONDS, listen, serve, show_metrics
from audifi.services import build_services

ECHO = Statement(select(bindparam("value", type_=Text)))


def add_routes(app: FastAPI) -> None:
    @app.get("/test/slow")
    async def slow(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    @app.get("/test/blocked-thread")
    def blocked_thread(seconds: float) -> None:
        time.sleep(seconds)

    @app.get("/test/slow-query")
    async def slow_query(database: DatabaseDep, seconds: float) -> float:
        async with database.transaction() as tx:
            await tx.fetch_sql("SELECT pg_sleep($1)", seconds)
        return seconds

    @app.get("/test/read")
    async def read(database: DatabaseDep, value: str) -> str:
        return str(await database.fetch_value(ECHO, value=value))

    @app.get("/test/setting")
    async def setting(database: DatabaseDep, name: str) -> str:
        [[value]] = await database.fetch_sql("SELECT current_setting($1)", name)
        return str(value)

    @app.post("/test/marks")
    async def mark(database: DatabaseDep, name: str, *, fail: bool = False, fail_at_commit: bool = False) -> None:
        async with database.transaction() as tx:
            await tx.fetch_sql("INSERT INTO marks VALUES ($1)", name)
            if fail:
                raise RuntimeError
            if fail_at_commit:  # its constraint is deferred
                await tx.fetch_sql("INSERT INTO marks VALUES ($1)", name)

    @app.get("/test/client")
    async def client(request: Request) -> dict[str, str | None]:
        return {"host": request.client.host if request.client else None, "scheme": request.url.scheme}


def add_routes_about_load(app: FastAPI) -> None:
    @app.get("/test/in-flight")
    async def in_flight(request: Request) -> int:
        """Return how many requests are in flight beside this one."""
        return services_of(request).concurrency_limit.in_flight - 1

    @app.get("/test/statement-and-limit")
    async def statement_and_limit(request: Request, database: DatabaseDep) -> None:
        async with database.transaction() as tx:
            await tx.fetch_sql("SELECT 1")
            services = services_of(request)
            await services.rate_limiter.hit(
                [(Limit("test", 1000, per=timedelta(minutes=1)), "x")], now=services.clock()
            )

    @app.post("/test/slow")
    async def slow_with_body(seconds: float, body: list[int]) -> int:
        await asyncio.sleep(seconds)
        return len(body)

    @app.get("/test/busy-loop")
    async def busy_loop(seconds: float) -> None:
        """Block the event loop for 20 ms in each iteration."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.02)  # noqa: ASYNC251
            await asyncio.sleep(0)


if __name__ == "__main__":
    logs.configure()
    settings = load(Settings)
    app = create_app(build_services(settings))
    add_routes(app)
    show_metrics(app, settings)
    add_routes_about_load(app)
    if "FLUSH_SECONDS" in os.environ:
        from audifi.core.telemetry import tracing as traces

        traces.FLUSH_SECONDS = int(os.environ["FLUSH_SECONDS"])
    if "UNREAD_TIMEOUT_SECONDS" in os.environ:
        server.UNREAD_TIMEOUT_SECONDS = int(os.environ["UNREAD_TIMEOUT_SECONDS"])
    limit = float(os.environ.get("EXIT_WITHIN_SECONDS", EXIT_WITHIN_SECONDS))
    serve(app, settings, listen(settings.host, settings.port), exit_within_seconds=limit)
