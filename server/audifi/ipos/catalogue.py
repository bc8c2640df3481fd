"""`/api/v1/offerings`: the offerings of all artists, for everybody."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from sqlalchemy import DateTime, Text, and_, any_, bindparam, case, or_, select
from sqlalchemy.dialects.postgresql import ARRAY

from audifi.auth.models import User
from audifi.core.db.pagination import PagedList
from audifi.core.http.dependencies import DatabaseDep, Now, services_of
from audifi.core.http.openapi import operation_id
from audifi.core.http.routing import StrictRoute
from audifi.core.http.schemas import Cursor, PageLimit
from audifi.ipos import schemas
from audifi.ipos.models import Ipo
from audifi.ipos.queries import IPO_COLUMNS, IpoRow, shown_status
from audifi.masters.models import Master

BUYABLE = ("live", "scheduled")
"""Listed unless the client names a status: what can be bought now or later."""

_ipos, _masters, _users = Ipo.__table__, Master.__table__, User.__table__
_launched_at = _ipos.c.launched_at.label("launched_at")
_now = bindparam("now", type_=DateTime(timezone=True))
_shown_status = case(
    (and_(_ipos.c.status == "live", _ipos.c.opens_at > _now), "scheduled"),
    (and_(_ipos.c.status == "live", or_(_ipos.c.ends_at <= _now, _ipos.c.sold == _ipos.c.offered)), "ended"),
    else_=_ipos.c.status,
)
"""What `shown_status` returns."""


@dataclass(frozen=True, slots=True)
class OfferingRow(IpoRow):
    """A launched offering with its master and its artist."""

    launched_at: datetime
    title: str
    type: str
    genre: str
    artist_name: str | None


OFFERINGS = PagedList(
    "offerings",
    select(
        *IPO_COLUMNS,
        _launched_at,
        _masters.c.title,
        _masters.c.type,
        _masters.c.genre,
        _users.c.display_name.label("artist_name"),
    )
    .join_from(_ipos, _masters, _masters.c.id == _ipos.c.master_id)
    .join(_users, _users.c.id == _ipos.c.artist_id)
    .where(
        _ipos.c.status == bindparam("stored_status"),  # one value, so that the index gives the order
        _ipos.c.launched_at.is_not(None),
        _masters.c.suspended_at.is_(None),
    ),
    OfferingRow,
    key=_ipos.c.id,
    sorts={"launched_at": _ipos.c.launched_at},
    filters={
        "statuses": _shown_status == any_(bindparam("statuses", type_=ARRAY(Text))),
        "genre": _masters.c.genre == bindparam("genre"),
    },
)
router = APIRouter(
    prefix="/api/v1/offerings", tags=["ipos"], generate_unique_id_function=operation_id, route_class=StrictRoute
)


@router.get("", summary="List offerings")
async def list_offerings(
    request: Request,
    database: DatabaseDep,
    now: Now,
    status: Annotated[
        schemas.ListedStatus | None,
        Query(description="Only those with this status. Without it, `live` and `scheduled` ones.", examples=["live"]),
    ] = None,
    genre: Annotated[
        str | None,
        Query(min_length=1, max_length=100, description="Only masters of exactly this genre.", examples=["Synthwave"]),
    ] = None,
    limit: PageLimit = 20,
    cursor: Cursor = None,
) -> schemas.OfferingPage:
    """Return launched offerings of all artists, the newest launch first.

    Canceled offerings and suspended masters aren't listed.
    """
    page = await OFFERINGS.fetch(
        database,
        services_of(request).cursors,
        sort="-launched_at",
        limit=limit,
        cursor=cursor,
        filters={"statuses": [status] if status else BUYABLE, "genre": genre},
        stored_status=status if status in {"paused", "completed"} else "live",
        now=now,
    )
    return schemas.OfferingPage(data=[_offering(row, now) for row in page.rows], next_cursor=page.next_cursor)


def _offering(row: OfferingRow, now: datetime) -> schemas.Offering:
    values = {name: getattr(row, name) for name in schemas.Offering.model_fields if hasattr(row, name)}
    return schemas.Offering.model_validate(
        values
        | {
            "artist": {"id": row.artist_id, "display_name": row.artist_name},
            "status": shown_status(row, now),
            "sold": row.sold - row.returned,
        }
    )
