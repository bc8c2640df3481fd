from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response, status

from audifi.core.clock import now
from audifi.health.probe import DatabaseProbe
from audifi.health.schemas import Dependencies, Health

router = APIRouter(prefix="/health", tags=["health"])


# The last line answers; the one above documents. One route for both methods makes a 405 allow both (RFC 9110, 15.5.6),
# but would be two operations of one id in the OpenAPI document.
@router.get("", summary="Can this server serve?", responses={503: {"model": Health, "description": "It can't."}})
@router.api_route("", methods=["GET", "HEAD"], include_in_schema=False)
async def get_health(request: Request, response: Response, asked_at: Annotated[datetime, Depends(now)]) -> Health:
    """200 when PostgreSQL answers, 503 when it doesn't, within 2 seconds. The cause is in the log."""
    probe: DatabaseProbe = request.app.state.database_probe
    connected = await probe.database_connected()
    response.headers["Cache-Control"] = "no-store"
    if not connected:
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    return Health(
        status="ok" if connected else "degraded",
        timestamp=asked_at.replace(microsecond=0),
        version=request.app.version,
        dependencies=Dependencies(database="connected" if connected else "disconnected"),
    )
