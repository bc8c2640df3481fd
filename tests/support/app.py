"""The API inside the test process, called over HTTP: tests move its clock, and coverage sees it."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx2
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.applications import Starlette

from audifi.app import FEATURES, create_app
from audifi.core.config.settings import Settings
from audifi.core.feature import no_schedules
from audifi.core.invariants import Violation, check
from audifi.services import RETENTION_TIMES, Services, build_services
from tests.support.api import APP_URL, FILES, SECRETS
from tests.support.clients import asking
from tests.support.sendgrid import PUBLIC_KEY

EVERY_ROW = ("--limit", "10000")
"""For commands that list the newest: tests that move the clock leave rows that are newer than another test's."""


@dataclass
class Clock:
    """The server's clock, which a test moves ahead of the system's."""

    ahead: timedelta = field(default_factory=timedelta)
    stopped_at: datetime | None = None

    def __call__(self) -> datetime:
        return (self.stopped_at or datetime.now(UTC)) + self.ahead

    def stop(self) -> None:
        """Stop the clock: from now on only `advance` moves it."""
        self.stopped_at = datetime.now(UTC)

    def reset(self) -> None:
        self.ahead, self.stopped_at = timedelta(), None

    def advance(self, **duration: float) -> None:
        self.ahead += timedelta(**duration)


class InvariantCheck:
    """Fails where the data violates an invariant of any feature.

    It keeps its connection, in which PostgreSQL plans the queries once: that takes ten times what running them takes.
    """

    def __init__(self, database_url: str) -> None:
        self.database_url = database_url
        self._runner = asyncio.Runner()
        self._connection: asyncpg.Connection | None = None

    def __call__(self) -> None:
        violations = self._runner.run(self._violations())
        assert not violations, violations

    async def _violations(self) -> list[Violation]:
        if not self._connection:
            self._connection = await asyncpg.connect(self.database_url, max_cached_statement_lifetime=0)
        return await check(self._connection, [invariant for feature in FEATURES for invariant in feature.invariants])

    def close(self) -> None:
        if self._connection:
            self._runner.run(self._connection.close())
        self._runner.close()


@dataclass(frozen=True, kw_only=True)
class App:
    """A running application."""

    url: str
    http: httpx2.Client
    asgi: FastAPI
    services: Services
    clock: Clock
    database_url: str
    check_invariants: InvariantCheck


@contextmanager
def running(
    database_url: str,
    *,
    sendgrid_url: str,
    clock: Clock | None = None,
    retention_times: str = RETENTION_TIMES,
    has_schedules: bool = False,
    **values: Any,
) -> Iterator[App]:
    """Run it as in production, behind a proxy that is trusted to report the client's address and scheme.

    Without schedules, a feature's timed work is done by the test alone, never before it.
    """
    clock = clock or Clock()
    secrets = {name.lower(): SecretStr(value) for name, value in SECRETS.items()}
    defaults: dict[str, Any] = {
        "database_url": database_url,
        "environment": "production",
        "app_url": APP_URL,
        "trusted_proxies": "127.0.0.0/8",
        "sendgrid_api_key": SecretStr("SG.the-key-of-the-tests"),
        "sendgrid_api_url": sendgrid_url,
        "sendgrid_webhook_public_key": PUBLIC_KEY,
        "audifi_commit": "",
        "database_pool_timeout_seconds": 30,  # for many concurrent requests on a busy machine
        **secrets,
        **{name.lower(): value for name, value in FILES.items()},
    }
    services = build_services(Settings(**defaults | values), clock=clock)
    features = FEATURES if has_schedules else [replace(feature, schedules=no_schedules) for feature in FEATURES]
    app = create_app(services, features=features, retention_times=retention_times)
    with serving(app) as url, asking(url) as http, closing(InvariantCheck(database_url)) as check_invariants:
        yield App(
            url=url,
            http=http,
            asgi=app,
            services=services,
            clock=clock,
            database_url=database_url,
            check_invariants=check_invariants,
        )


@contextmanager
def serving(app: Starlette) -> Iterator[str]:
    """Serve over HTTP from a thread while the block runs; yield the URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http="httptools", loop="uvloop", lifespan="on", log_config=None, proxy_headers=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the app didn't start"
            thread.join(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def check_invariants(database_url: str) -> None:
    """Fail where the data violates an invariant of any feature."""
    with closing(InvariantCheck(database_url)) as check_now:
        check_now()
