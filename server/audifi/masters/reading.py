"""Which masters a client may see."""

from typing import Annotated
from uuid import UUID

from fastapi import Path

from audifi.auth.session_checks import CheckedUser
from audifi.core.db.database import Database
from audifi.core.http import problems as http_problems
from audifi.masters import queries
from audifi.masters.queries import FullMasterRow

MasterId = Annotated[UUID, Path(description="The master's id.", examples=["01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17"])]


async def read_visible(database: Database, user: CheckedUser | None, master_id: UUID) -> FullMasterRow:
    """Return a master if the client may see it.

    Raises:
        Problem: 404.
    """
    row = await database.fetch_one(queries.GET, FullMasterRow, master_id=master_id)
    if row is None or not (row.status == "offered" or manages(user, row)):
        raise http_problems.not_found()
    return row


def manages(user: CheckedUser | None, master: FullMasterRow) -> bool:
    """Return whether the client is the master's artist or an admin."""
    return user is not None and (user.id == master.artist_id or user.role == "admin")
