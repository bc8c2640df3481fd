"""An app behind the real middleware, with routes that fail in each way, and a server for it in a thread."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import APIRouter, Body, FastAPI, Header, Query, Request, Response, WebSocket
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from starlette.background import BackgroundTask

from audifi.core.clock import utc_now
from audifi.core.config.settings import DatabaseSettings
from audifi.core.db.database import Database
from audifi.core.http.middleware.concurrency_limit import ConcurrencyLimit
from audifi.core.http.middleware.stack import add_middleware
from audifi.core.http.openapi import raises
from audifi.core.http.problems import Problem
from audifi.core.rate_limiting.approximate import ApproximateRateLimiter, ReplicatedCounters
from audifi.core.rate_limiting.limits import CounterKeys, Limit
from audifi.core.telemetry.context import current_request_id
from audifi.core.telemetry.metrics import Metrics

ORIGIN = "https://app.audifi.test"
ROW_VALUE = "fan@example.com"  # a value of a row, which PostgreSQL's DETAIL contains


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Thing(BaseModel):
    model_config = ConfigDict(extra="forbid")

    token: SecretStr = Field(max_length=100)
    email: str = Field(default="", pattern=r"^[^@]*@[^@]*$")
    tags: list[Annotated[str, Field(max_length=3)]] = []
    pet: Cat | Dog | None = Field(default=None, discriminator="kind")


def create(database_url: str) -> FastAPI:
    """Return the app. `/away/…` queries unreachable databases, `/database/…` this one."""

    database = _database(database_url)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.database = database
        yield
        await database.close()

    app = FastAPI(lifespan=lifespan, redirect_slashes=False)
    unlimited = Limit("unlimited", 1_000_000, per=timedelta(minutes=1))
    counters = ReplicatedCounters(database, CounterKeys(SecretStr("the tests' secret")))
    limiter = ApproximateRateLimiter(counters, utc_now, per_client=unlimited, per_account=unlimited)
    app.state.concurrency_limit = ConcurrencyLimit(150)
    app.state.metrics = Metrics()
    add_middleware(
        app,
        allowed_origins=(ORIGIN,),
        trusted_proxies=(IPv4Network("127.0.0.0/8"),),
        request_limiter=limiter,
        concurrency_limit=app.state.concurrency_limit,
        unlimited_paths=frozenset(),
        metrics=app.state.metrics,
    )
    app.include_router(requests, prefix="/v1")
    app.include_router(failures, prefix="/v1")
    app.include_router(databases, prefix="/v1")
    return app


requests = APIRouter()


@requests.get("/things")
async def read_things(limit: Annotated[int, Query(le=100)] = 1, x_page: Annotated[int, Header()] = 1) -> int:
    return limit * x_page


@requests.post("/things")
@raises(Problem(409, "thing.there", "It is there already"))
async def make_thing(request: Request, body: Thing) -> dict[str, Any]:
    request.app.state.made = getattr(request.app.state, "made", 0) + 1
    return {"request_id": current_request_id.get(), "email": body.email}


@requests.post("/optional")
async def take_optional(body: Thing | None = None) -> bool:
    return body is not None


@requests.post("/unread")
async def read_no_body(request: Request) -> None:
    request.app.state.unread = True


@requests.post("/uploads", max_body_size=200_000)
async def measure(text: Annotated[str, Body()]) -> int:
    return len(text)


@requests.get("/slow")
async def take_two_seconds() -> None:
    await asyncio.sleep(2)


@requests.get("/large")
async def send_much() -> StreamingResponse:
    return StreamingResponse(iter([b"x" * 65536] * 200))


@requests.get("/page")
async def page(response: Response) -> None:
    response.headers["Content-Security-Policy"] = "default-src 'self'"
    response.headers["Cache-Control"] = "max-age=60"
    response.headers["Vary"] = "Accept"


@requests.websocket("/socket")
async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    assert websocket.client
    await websocket.send_text(f"{websocket.client.host} {websocket.scope['scheme']} {current_request_id.get()}")
    await websocket.close()


@requests.get("/problem")
async def problem() -> None:
    cleared = [("Set-Cookie", "a=; Max-Age=0"), ("Set-Cookie", "b=; Max-Age=0"), ("WWW-Authenticate", "Bearer")]
    raise Problem(401, "link.used", "It was used", "Ask for another.", headers=cleared, max_age=300)


failures = APIRouter()


@failures.get("/crash")
async def crash() -> None:
    raise RuntimeError("crashed")


@failures.get("/crash/while-answering")
async def crash_late() -> StreamingResponse:
    async def parts() -> AsyncIterator[str]:
        yield "the first part"
        await asyncio.sleep(0)
        raise RuntimeError(f"crashed late: {ROW_VALUE}")

    return StreamingResponse(parts())


@failures.get("/crash/after-answering")
async def crash_afterwards() -> StreamingResponse:
    async def fail() -> None:
        raise RuntimeError("crashed afterwards")

    return StreamingResponse(iter(["all"]), background=BackgroundTask(fail))


@failures.get("/crash/by-file")
async def no_such_file() -> str:
    return Path("/nowhere/file").read_text()  # noqa: ASYNC240 - the file doesn't exist


@failures.get("/crash/by-validation")
async def invalid_value() -> None:
    Thing.model_validate({"token": "t", "email": ROW_VALUE.replace("@", "")})


databases = APIRouter()

STATEMENTS = {
    "duplicate": """
        CREATE TEMP TABLE t (email text CONSTRAINT uq_t_email UNIQUE) ON COMMIT DROP;
        INSERT INTO t VALUES ('fan@example.com');
        INSERT INTO t VALUES ('fan@example.com')""",
    "not-a-number": "SELECT 'fan@example.com'::int",
    "terminated": "SELECT pg_terminate_backend(pg_backend_pid())",
    "too-slow": "SET LOCAL statement_timeout = 1500;\nSELECT pg_sleep(10)",
    "starting": "DO $$ BEGIN RAISE SQLSTATE '57P03'; END $$",
    "deadlock": "DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$",
}


@databases.get("/database/{name}")
async def fail_in_database(request: Request, name: str) -> None:
    database: Database = request.app.state.database
    async with database.transaction() as tx:
        for statement in STATEMENTS[name].split(";\n"):
            await tx.fetch_sql(statement)


@databases.get("/sqlstate/{sqlstate}")
async def fail_as_a_trigger_would(request: Request, sqlstate: str) -> None:
    database: Database = request.app.state.database
    async with database.transaction() as tx:
        await tx.fetch_sql(f"DO $$ BEGIN RAISE SQLSTATE '{sqlstate}'; END $$")


@databases.post("/text")
async def keep_text(request: Request, body: Thing) -> None:
    database: Database = request.app.state.database
    async with database.transaction() as tx:
        await tx.fetch_sql("SELECT $1::text", body.token.get_secret_value())


@databases.get("/pool")
async def exhaust_pool(request: Request) -> None:
    database: Database = request.app.state.database
    pool, _ = database.pools
    async with pool.semaphore, database.transaction():
        pass


@databases.get("/cut")
async def lose_connection(request: Request) -> None:
    database: Database = request.app.state.database
    async with database.connection() as connection:
        connection.terminate()
        await connection.execute("SELECT 1")


@databases.get("/in-transaction/file")
async def fail_in_transaction(request: Request) -> None:
    """Raise an OSError that isn't the database's while a transaction is open."""
    database: Database = request.app.state.database
    async with database.transaction():
        Path("/nowhere/file").read_text()  # noqa: ASYNC240


@databases.get("/away")
async def ask_another(url: str) -> None:
    async with _database(url, timeout_seconds=1.5) as database, database.transaction():
        pass


def _database(url: str, timeout_seconds: float = 5) -> Database:
    return Database(_settings(url, timeout_seconds), pool_size=1, read_pool_size=1)


def _settings(url: str, timeout_seconds: float = 5) -> DatabaseSettings:
    values = {
        "database_url": url,
        "database_pool_timeout_seconds": 0.1,
        "database_connect_timeout_seconds": timeout_seconds,
        "database_statement_timeout_seconds": timeout_seconds,
    }
    return DatabaseSettings.model_validate(values)


@contextmanager
def running(app: FastAPI) -> Iterator[int]:
    """Serve the app from a thread as the image does from a process; yield the port."""
    app.openapi()  # otherwise FastAPI builds its routes at the first request, under pytest's warning filters
    config = uvicorn.Config(app, port=0, loop="uvloop", http="httptools", log_config=None, proxy_headers=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
