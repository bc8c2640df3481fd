"""The transaction of a request. Apart from database.py, so that migrations start without FastAPI."""

from collections.abc import AsyncIterator

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker


async def get_session(request: Request) -> AsyncIterator[AsyncSession]:
    """A session in a transaction that is committed before the response leaves, and rolled back on any error.

    Depend on it with `Depends(get_session, scope="function")`: FastAPI's default scope would commit after the response
    was sent, and answer 200 to what was then not committed.
    """
    sessions: async_sessionmaker[AsyncSession] = request.app.state.sessions
    async with sessions.begin() as session:
        yield session
