"""The health route."""

from fastapi import APIRouter, Request, Response, status

from audifi.core.http.dependencies import services_of
from audifi.core.http.openapi import operation_id
from audifi.health.schemas import Dependencies, Health

PATH = "/api/v1/health"
# Not a StrictRoute: monitors add query parameters that keep caches from answering, and no probe must fail for that.
router = APIRouter(prefix=PATH, tags=["health"], generate_unique_id_function=operation_id)


@router.get(
    "",
    summary="Check the server's health",
    responses={503: {"model": Health, "description": "The database is unavailable."}},
)
async def get_health(request: Request, response: Response) -> Health:
    """200 when this server can use PostgreSQL, else 503, within 2 seconds. The log has the cause."""
    services = services_of(request)
    state = await services.database_probe.database_state()
    if state == "disconnected":
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    return Health(
        status="ok" if state == "connected" else "degraded",
        timestamp=services.clock().replace(microsecond=0),
        version=services.settings.version,
        dependencies=Dependencies(database=state),
    )
