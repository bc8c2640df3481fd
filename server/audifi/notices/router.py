"""`/api/v1/notices`."""

from fastapi import APIRouter, Request

from audifi.auth.dependencies import CurrentUser
from audifi.core.http.dependencies import services_of
from audifi.core.http.openapi import operation_id
from audifi.core.http.routing import StrictRoute
from audifi.core.http.schemas import Cursor, PageLimit
from audifi.notices import schemas
from audifi.notices.queries import NOTICES

router = APIRouter(
    prefix="/api/v1/notices",
    tags=["notices"],
    generate_unique_id_function=operation_id,
    route_class=StrictRoute,
)


@router.get("", summary="List the account's notices")
async def list_notices(
    request: Request, user: CurrentUser, limit: PageLimit = 20, cursor: Cursor = None
) -> schemas.NoticePage:
    """Return what happened in the last 90 days, the newest first. Each is sent by e-mail, too."""
    services = services_of(request)
    page = await NOTICES.fetch(
        services.database, services.cursors, sort="-created_at", limit=limit, cursor=cursor, user_id=user.id
    )
    return schemas.NoticePage(
        data=[schemas.Notice.model_validate(row, from_attributes=True) for row in page.rows],
        next_cursor=page.next_cursor,
    )
