"""The transaction of a request. Apart from database.py, so that migrations start without FastAPI."""

from collections.abc import AsyncIterator, Callable

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import HTTPConnection

from audifi.core.http.dependencies import DATABASE_PROBLEMS, services_of
from audifi.core.http.openapi import raises


@raises(*DATABASE_PROBLEMS)
async def get_session(connection: HTTPConnection) -> AsyncIterator[AsyncSession]:
    """A session whose transaction is committed before the response leaves, and rolled back on any error.

    What must outlive an error, such as a failed attempt, its service commits itself before it raises.

    Depend on it with `Depends(get_session, scope="function")`: FastAPI's default scope would commit after the response
    was sent, and answer 200 to what was then not committed.
    """
    services = services_of(connection)
    async with services.turns, services.sessions() as session:
        yield session
        await session.commit()


def after_commit(session: AsyncSession, callback: Callable[[], None]) -> None:
    """Call it once the transaction that is open has been committed, and not if it is rolled back."""
    event.listen(session.sync_session, "after_commit", lambda _: callback(), once=True)
