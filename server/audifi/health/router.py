from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request, Response, status
from starlette.types import Receive, Scope, Send

from audifi.core.clock import Clock, now
from audifi.health.probe import DatabaseProbe
from audifi.health.schemas import Dependencies, Health

PATH = "/api/v1/health"
router = APIRouter(prefix="/health", tags=["health"])


# The last line answers; the one above documents. One route for both methods makes a 405 allow both (RFC 9110, 15.5.6),
# but would be two operations of one id in the OpenAPI document.
@router.get("", summary="Can this server serve?", responses={503: {"model": Health, "description": "It can't."}})
@router.api_route("", methods=["GET", "HEAD"], include_in_schema=False)
async def get_health(request: Request, response: Response, asked_at: Annotated[datetime, Depends(now)]) -> Health:
    """200 when PostgreSQL answers, 503 when it doesn't, within 2 seconds. The cause is in the log."""
    health = await _health(request.app, asked_at)
    response.headers["Cache-Control"] = "no-store"
    response.status_code = _status(health)
    return health


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """The same for those who ask all the time, at a third of the cost: an ASGI application (`edge.FirstMiddleware`)."""
    app: FastAPI = scope["app"]
    scope["endpoint"] = get_health  # for core/sight
    clock: Clock = app.state.clock
    health = await _health(app, clock())
    response = Response(
        health.model_dump_json(), _status(health), {"Cache-Control": "no-store"}, media_type="application/json"
    )
    await response(scope, receive, send)


async def _health(app: FastAPI, asked_at: datetime) -> Health:
    probe: DatabaseProbe = app.state.database_probe
    connected = await probe.database_connected()
    return Health(
        status="ok" if connected else "degraded",
        timestamp=asked_at.replace(microsecond=0),
        version=app.version,
        dependencies=Dependencies(database="connected" if connected else "disconnected"),
    )


def _status(health: Health) -> int:
    return status.HTTP_200_OK if health.status == "ok" else status.HTTP_503_SERVICE_UNAVAILABLE
