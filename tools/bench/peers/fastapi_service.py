"""FastAPI as its documentation and the usual tutorials have it: what a service costs that nobody has made faster."""

import os
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

import jwt
import structlog  # type: ignore[import-not-found, unused-ignore]
from fastapi import Body, Depends, FastAPI, Query, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from limits import parse  # type: ignore[import-not-found, unused-ignore]
from prometheus_fastapi_instrumentator import Instrumentator  # type: ignore[import-not-found, unused-ignore]
from pydantic import BaseModel, StringConstraints
from slowapi import Limiter  # type: ignore[import-not-found, unused-ignore]
from slowapi.middleware import SlowAPIASGIMiddleware  # type: ignore[import-not-found, unused-ignore]
from slowapi.util import get_remote_address  # type: ignore[import-not-found, unused-ignore]
from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from starlette.middleware.base import RequestResponseEndpoint
from uuid6 import uuid7

from tools.bench.peers import common
from tools.bench.peers.common import Probe, Problem

HEALTH_PATH = "/api/v1/health"
LIMIT = f"{os.environ['LIMIT']}/minute"
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
STATEMENTS = {name: text(statement["named"]) for name, statement in common.STATEMENTS.items()}

structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.JSONRenderer(),
    ],
    cache_logger_on_first_use=True,
)
log = structlog.get_logger()

engine = create_async_engine(
    common.DATABASE_URL.replace("postgresql://", "postgresql+asyncpg://"),
    pool_size=common.POOL_SIZE,
    max_overflow=0,
    connect_args={"server_settings": {"timezone": "UTC"}},
)
make_session = async_sessionmaker(engine, expire_on_commit=False)
probe = Probe()


class Health(BaseModel):
    status: str
    timestamp: str
    version: str
    dependencies: dict[str, str]


class User(BaseModel):
    id: UUID
    email: str
    display_name: str | None
    role: str
    created_at: datetime


class Event(BaseModel):
    id: UUID
    event: str
    created_at: datetime
    session_id: UUID | None
    detail: str | None
    user_agent: str | None
    ip_prefix: str | None


class EventPage(BaseModel):
    data: list[Event]
    next_cursor: str | None


class UserChange(BaseModel):
    display_name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)] | None


app = FastAPI()


# The middleware that is added last is the first to see a request.
limiter = Limiter(key_func=get_remote_address, default_limits=[LIMIT], headers_enabled=True)
app.state.limiter = limiter
app.add_middleware(SlowAPIASGIMiddleware)
app.add_middleware(
    CORSMiddleware,
    allow_origins=[os.environ["APP_URL"]],
    allow_credentials=True,
    expose_headers=["X-Request-ID", "Retry-After"],
)


@app.middleware("http")
async def log_requests(request: Request, call_next: RequestResponseEndpoint) -> Response:
    began = time.perf_counter()
    request.state.request_id = uuid4().hex
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request.state.request_id)
    response = await call_next(request)
    response.headers.update(SECURITY_HEADERS)
    response.headers["X-Request-ID"] = request.state.request_id
    if request.url.path != HEALTH_PATH:
        route = getattr(request.scope.get("route"), "path", "unmatched")
        event = f"{request.method} {route} {response.status_code}"
        log.info(
            event,
            method=request.method,
            route=route,
            status=response.status_code,
            duration_ms=round((time.perf_counter() - began) * 1000, 2),
            user_id=getattr(request.state, "user_id", None),
        )
    return response


Instrumentator().instrument(app).expose(app)


@app.exception_handler(Problem)
async def answer_problem(request: Request, problem: Problem) -> JSONResponse:
    return JSONResponse(
        problem.body(request.url.path, request.state.request_id),
        status_code=problem.status,
        headers={"WWW-Authenticate": problem.challenge} if problem.challenge else None,
        media_type="application/problem+json",
    )


async def get_session() -> AsyncIterator[AsyncSession]:
    async with make_session() as session:
        yield session


Session = Annotated[AsyncSession, Depends(get_session)]
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]


async def read_token(request: Request, credentials: Credentials) -> dict[str, Any]:
    if credentials is None:
        raise common.missing_token()
    try:
        token = jwt.decode_complete(
            credentials.credentials,
            common.JWT_SECRET,
            algorithms=["HS256"],
            issuer=common.TOKEN_ISSUER,
            audience=common.TOKEN_AUDIENCE,
            leeway=common.LEEWAY_SECONDS,
            options={"require": ["iss", "aud", "sub", "sid", "jti", "iat", "exp", "auth_time", "amr"]},
        )
    except jwt.PyJWTError:
        raise common.invalid_token() from None
    if token["header"].get("typ") != "at+jwt":
        raise common.invalid_token()
    claims: dict[str, Any] = token["payload"]
    request.state.user_id = claims["sub"]
    if not limiter.limiter.hit(parse(LIMIT), "user", claims["sub"]):
        raise Problem(429, "rate_limit.exceeded", "Too many requests")
    return claims


Claims = Annotated[dict[str, Any], Depends(read_token)]


async def find_user(session: Session, claims: Claims) -> RowMapping:
    values = {"session_id": UUID(claims["sid"]), "user_id": UUID(claims["sub"]), "now": datetime.now(UTC)}
    row = (await session.execute(STATEMENTS["find_user"], values)).mappings().one_or_none()
    if row is None:
        raise common.invalid_token()
    return row


CurrentUser = Annotated[RowMapping, Depends(find_user)]


@app.get(HEALTH_PATH)
@limiter.exempt  # type: ignore[untyped-decorator, unused-ignore]
async def get_health(response: Response) -> Health:
    connected = await probe.is_connected()
    response.status_code = 200 if connected else 503
    return Health(
        status="ok" if connected else "degraded",
        timestamp=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        version=common.VERSION,
        dependencies={"database": "connected" if connected else "disconnected"},
    )


@app.get("/api/v1/auth/me")
async def get_me(user: CurrentUser) -> User:
    return User.model_validate(user)


@app.get("/api/v1/auth/me/activity")
async def list_activity(session: Session, claims: Claims, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> EventPage:
    values = {"user_id": UUID(claims["sub"]), "before": common.FIRST_CURSOR, "limit": limit + 1}
    rows = (await session.execute(STATEMENTS["list_events"], values)).mappings().all()
    return EventPage(
        data=[Event.model_validate(row) for row in rows[:limit]], next_cursor=common.next_cursor(rows, limit)
    )


@app.patch("/api/v1/auth/me")
async def patch_me(
    request: Request, session: Session, user: CurrentUser, change: Annotated[UserChange, Body()]
) -> User:
    values = {"user_id": user["id"], "display_name": change.display_name}
    if (await session.execute(STATEMENTS["rename_user"], values)).one_or_none() is None:
        raise common.invalid_token()
    event = {
        "id": UUID(str(uuid7())),
        "user_id": user["id"],
        "ip": request.client.host if request.client else None,
        "user_agent": request.headers.get("user-agent"),
        "now": datetime.now(UTC),
    }
    await session.execute(STATEMENTS["insert_event"], event)
    await session.commit()
    return User.model_validate({**user, "display_name": change.display_name})
