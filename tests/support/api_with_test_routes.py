"""The API with routes that tests need: slow ones, some that hold a connection, and one that shows the client."""

import asyncio
import os
import time
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from sqlalchemy import Text, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from audifi import serve as server
from audifi.app import create_app
from audifi.core.config.settings import Settings, load
from audifi.core.db.statements import Statement
from audifi.core.http.dependencies import DatabaseDep, services_of
from audifi.core.http.session import get_session
from audifi.core.telemetry import logging as logs
from audifi.serve import EXIT_WITHIN_SECONDS, listen, serve, show_metrics
from audifi.services import build_services

ECHO = Statement(select(bindparam("value", type_=Text)))
Session = Annotated[AsyncSession, Depends(get_session, scope="function")]


def add_routes(app: FastAPI) -> None:
    @app.get("/test/slow")
    async def slow(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    @app.get("/test/blocked-thread")
    def blocked_thread(seconds: float) -> None:
        time.sleep(seconds)

    @app.get("/test/slow-query")
    async def slow_query(session: Session, seconds: float) -> float:
        await session.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": seconds})
        return seconds

    @app.get("/test/read")
    async def read(database: DatabaseDep, value: str) -> str:
        return str(await database.fetch_value(ECHO, value=value))

    @app.get("/test/setting")
    async def setting(session: Session, name: str) -> str:
        value: str = (await session.execute(text("SELECT current_setting(:name)"), {"name": name})).scalar_one()
        return value

    @app.post("/test/marks")
    async def mark(session: Session, name: str, *, fail: bool = False, fail_at_commit: bool = False) -> None:
        await session.execute(text("INSERT INTO marks VALUES (:name)"), {"name": name})
        if fail:
            raise RuntimeError
        if fail_at_commit:  # its constraint is deferred
            await session.execute(text("INSERT INTO marks VALUES (:name)"), {"name": name})

    @app.get("/test/client")
    async def client(request: Request) -> dict[str, str | None]:
        return {"host": request.client.host if request.client else None, "scheme": request.url.scheme}


def add_routes_about_load(app: FastAPI) -> None:
    @app.get("/test/in-flight")
    async def in_flight(request: Request) -> int:
        """Return how many requests are in flight beside this one."""
        return services_of(request).concurrency_limit.in_flight - 1

    @app.post("/test/slow")
    async def slow_with_body(seconds: float, body: list[int]) -> int:
        await asyncio.sleep(seconds)
        return len(body)

    @app.get("/test/busy-loop")
    async def busy_loop(seconds: float) -> None:
        """Each turn of the event loop takes 20 ms."""
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
