from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI, Request, Response, status
from starlette.types import Receive, Scope, Send

from audifi.core.http.dependencies import Now, services_of
from audifi.core.http.openapi import operation_id
from audifi.health.schemas import Dependencies, Health

if TYPE_CHECKING:
    from audifi.services import Services

PATH = "/api/v1/health"
router = APIRouter(prefix=PATH, tags=["health"], generate_unique_id_function=operation_id)


# The last line answers; the one above documents. One route for both methods makes a 405 allow both (RFC 9110, 15.5.6),
# but would be two operations of one id in the OpenAPI document.
@router.get("", summary="Can this server serve?", responses={503: {"model": Health, "description": "It can't."}})
@router.api_route("", methods=["GET", "HEAD"], include_in_schema=False)
async def get_health(request: Request, response: Response, asked_at: Now) -> Health:
    """200 when PostgreSQL answers, 503 when it doesn't, within 2 seconds. The cause is in the log."""
    services = services_of(request)
    connected = await services.database_probe.database_connected()
    health = _health(connected=connected, at=asked_at.replace(microsecond=0), version=services.settings.version)
    response.headers["Cache-Control"] = "no-store"
    response.status_code = _status(health)
    return health


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """The same for those who ask all the time, at a third of the cost: an ASGI application (`edge.FirstMiddleware`)."""
    app: FastAPI = scope["app"]
    scope["endpoint"] = get_health  # for core/http/middleware/instrumentation
    services: Services = app.state.services
    connected = await services.database_probe.database_connected()
    status_code, body = _written(connected=connected, at=services.clock().replace(microsecond=0), version=app.version)
    response = Response(body, status_code, {"Cache-Control": "no-store"}, media_type="application/json")
    await response(scope, receive, send)


@lru_cache(2)
def _written(*, connected: bool, at: datetime, version: str) -> tuple[int, bytes]:
    """An answer's status and body: for a second, all have the same."""
    health = _health(connected=connected, at=at, version=version)
    return _status(health), health.model_dump_json().encode()


def _health(*, connected: bool, at: datetime, version: str) -> Health:
    return Health(
        status="ok" if connected else "degraded",
        timestamp=at,
        version=version,
        dependencies=Dependencies(database="connected" if connected else "disconnected"),
    )


def _status(health: Health) -> int:
    return status.HTTP_200_OK if health.status == "ok" else status.HTTP_503_SERVICE_UNAVAILABLE
