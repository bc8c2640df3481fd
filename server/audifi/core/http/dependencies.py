"""FastAPI dependencies for the routes of all features."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from audifi.core.db.database import Database
from audifi.core.http import problems
from audifi.core.http.client_info import ClientInfo, client_info
from audifi.core.http.openapi import raises

if TYPE_CHECKING:
    from audifi.services import Services


DATABASE_PROBLEMS = (problems.database_unavailable(), problems.database_read_only(), problems.database_busy())


def services_of(connection: HTTPConnection) -> "Services":
    """Return the process's services."""
    services: Services = connection.app.state.services
    return services


async def current_time(connection: HTTPConnection) -> datetime:
    """Return the current time by the services' clock."""
    return services_of(connection).clock()


@raises(*DATABASE_PROBLEMS)
async def database_of(connection: HTTPConnection) -> Database:
    """Return the database for requests."""
    return services_of(connection).database


# Dependencies are coroutines: FastAPI runs plain functions in threads.
DatabaseDep = Annotated[Database, Depends(database_of)]
Now = Annotated[datetime, Depends(current_time)]
ClientInfoDep = Annotated[ClientInfo, Depends(client_info)]
