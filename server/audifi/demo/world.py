"""What the parts of the demo share: the services, times in the past, and lookups of accounts and masters."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import typer
from sqlalchemy import bindparam, select

from audifi.auth.models import User
from audifi.core.db.database import Database, Transaction
from audifi.core.db.statements import Statement
from audifi.core.jobs.queue import JobQueue
from audifi.masters.models import Master
from audifi.services import Services

OPERATOR = "demo"
"""The operator's name, where a step is an operator's."""
DOMAIN = "example.org"
"""Reserved for examples (RFC 2606): no e-mail reaches anybody."""
START_ANEW = "Start with an empty database: stop `make run`, and delete .data/postgres."

FIND_USER = Statement(select(User.id).where(User.email_key == bindparam("email_key")))
FIND_MASTER = Statement(
    select(Master.id)
    .where(Master.artist_id == bindparam("artist_id"), Master.title == bindparam("title"))
    .order_by(Master.created_at)
    .limit(1)
)


class DemoError(Exception):
    """The demo can't be made. The message says why, and what to do."""


class CollectedJobs(JobQueue):
    """Collects jobs instead of queueing them: a server would send e-mails, and the demo runs what it needs itself."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.payloads: list[bytes] = []

    async def enqueue(
        self,
        tx: Transaction,  # noqa: ARG002 - the queue's signature
        name: str,  # noqa: ARG002 - as above
        *payloads: bytes,
        priority: int = 0,  # noqa: ARG002 - as above
    ) -> None:
        self.payloads.extend(payloads)


@dataclass(frozen=True, kw_only=True)
class World:
    """The services and the clock of the demo. Its history is created by passing times in the past to the services."""

    services: Services
    jobs: CollectedJobs
    today: datetime

    def say(self, sentence: str) -> None:
        """Print a line of progress."""
        typer.echo(f"  {sentence}")

    def ago(self, **duration: float) -> datetime:
        """Return the time that long ago; of a negative duration, a time in the future."""
        return self.today - timedelta(**duration)

    async def find_user(self, name: str) -> UUID | None:
        """Return the account `name@example.org`."""
        user_id: UUID | None = await self.services.database.fetch_value(FIND_USER, email_key=f"{name}@{DOMAIN}")
        return user_id

    async def user(self, name: str) -> UUID:
        """
        Raises:
            DemoError: it was renamed or deleted.
        """
        return _present(await self.find_user(name), f"{name}@{DOMAIN}")

    async def find_master(self, artist: str, title: str) -> UUID | None:
        """Return an artist's master by its title."""
        master_id: UUID | None = await self.services.database.fetch_value(
            FIND_MASTER, artist_id=await self.user(artist), title=title
        )
        return master_id

    async def master(self, artist: str, title: str) -> UUID:
        """
        Raises:
            DemoError: it was renamed or deleted.
        """
        return _present(await self.find_master(artist, title), title)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A feature's part of the demo. It uses what the parts before it have made."""

    name: str
    is_there: Callable[[World], Awaitable[bool]]
    """Whether the last thing that `make` makes is there."""
    make: Callable[[World], Awaitable[None]]


def _present(row_id: UUID | None, name: str) -> UUID:
    if row_id is None:
        raise DemoError(f"The demo lacks {name}, which was renamed or deleted. {START_ANEW}")
    return row_id
