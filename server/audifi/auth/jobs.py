"""Work of signing in that goes on without the request: its mail, and clearing up."""

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Self
from uuid import UUID

from sqlalchemy import insert, literal, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from uuid6 import uuid7

from audifi.auth.emails import sign_in_mail
from audifi.auth.models import AuthEvent, Session, SignInFlow, User
from audifi.auth.tokens import Keys, Link
from audifi.core.clock import Clock
from audifi.core.db.retention import Expired
from audifi.core.email.sender import EmailError, EmailSender
from audifi.core.jobs.queue import GiveUpError, Kind

if TYPE_CHECKING:
    from audifi.services import Services

SIGN_IN_MAIL = "sign_in_mail"
CODE_EXHAUSTED = "code_exhausted"
ATTEMPTS = 12
"""Over 7 of the 10 minutes for which a link is good."""
FLOWS_KEPT = timedelta(days=1)
SESSIONS_KEPT = timedelta(days=30)
EVENTS_KEPT = timedelta(days=366)  # auth_events refuses to lose younger ones


@dataclass(frozen=True, kw_only=True)
class SignInMail:
    """What waits in the queue: not the link, but what it is made of together with MAGIC_LINK_SECRET."""

    flow_id: UUID
    seed: bytes = field(repr=False)
    """32 random bytes."""

    def to_bytes(self) -> bytes:
        return self.flow_id.bytes + self.seed

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        return cls(flow_id=UUID(bytes=payload[:16]), seed=payload[16:])


def sign_in_mails(
    *, sessions: async_sessionmaker[AsyncSession], keys: Keys, mailer: EmailSender, app_url: str, clock: Clock
) -> Kind:
    """The job that mails a link and a code.

    To the address of the account, if there is one: the one that was typed in could be spelled in another way, and reach
    another mailbox.
    """

    async def send(payload: bytes) -> None:
        job = SignInMail.from_bytes(payload)
        found = (
            select(SignInFlow.token_hash, SignInFlow.consumed_at, SignInFlow.expires_at, SignInFlow.email, User.email)
            .outerjoin(User, User.email_key == SignInFlow.email_key)
            .where(SignInFlow.id == job.flow_id)
        )
        async with sessions() as session:
            row = (await session.execute(found)).one_or_none()
        if row is None or row.consumed_at is not None:
            return  # it is of no use any more
        remaining = row.expires_at - clock()
        if remaining <= timedelta():
            raise GiveUpError("the link has expired before its mail could be sent")
        token_hash, _, _, typed, stored = row
        link = _link(keys, job.seed, token_hash)
        mail = sign_in_mail(
            to=stored or typed,
            link=f"{app_url}/auth/verify#token={link.token}",
            code=link.code,
            minutes=math.ceil(remaining.total_seconds() / 60),
            message_id=str(job.flow_id),
        )
        try:
            await mailer.send(mail)
        except EmailError as error:
            if error.permanent:
                raise GiveUpError(str(error)) from None
            raise

    return Kind(name=SIGN_IN_MAIL, handler=send, attempts=ATTEMPTS)


def exhausted_codes(*, sessions: async_sessionmaker[AsyncSession], clock: Clock) -> Kind:
    """The job that tells an account's owner that someone has used up a code's attempts.

    A job, so that nobody learns by it who has an account: a request that looked would take longer where there is one.
    """

    async def tell(payload: bytes) -> None:
        flow = (
            select(SignInFlow.email_key, SignInFlow.ip, SignInFlow.user_agent)
            .where(SignInFlow.id == UUID(bytes=payload))
            .subquery()
        )
        event = select(
            literal(uuid7()), literal("code.exhausted"), User.id, flow.c.ip, flow.c.user_agent, literal(clock())
        ).join(flow, flow.c.email_key == User.email_key)
        columns = ["id", "event", "user_id", "ip", "user_agent", "created_at"]
        async with sessions.begin() as session:
            await session.execute(insert(AuthEvent).from_select(columns, event))

    return Kind(name=CODE_EXHAUSTED, handler=tell, attempts=ATTEMPTS)


def job_types(services: "Services") -> list[Kind]:
    """Return the jobs of sign-in, with what they need."""
    return [
        sign_in_mails(
            sessions=services.sessions,
            keys=services.keys,
            mailer=services.email_sender,
            app_url=services.settings.app_url,
            clock=services.clock,
        ),
        exhausted_codes(sessions=services.sessions, clock=services.clock),
    ]


def _link(keys: Keys, seed: bytes, token_hash: bytes) -> Link:
    for link in keys.links(seed):
        if token_hash in keys.digests("link token", link.token):
            return link
    raise GiveUpError("MAGIC_LINK_SECRET has changed since, and MAGIC_LINK_SECRET_PREVIOUS isn't the one before")


def expired(now: datetime) -> list[Expired]:
    """What housekeeping deletes. Flows and sessions are kept for a while, to tell clients what became of them."""
    return [
        Expired(rows_of=SignInFlow.__table__, by=SignInFlow.expires_at, before=now - FLOWS_KEPT),
        Expired(rows_of=Session.__table__, by=Session.idle_expires_at, before=now - SESSIONS_KEPT),
        Expired(rows_of=Session.__table__, by=Session.revoked_at, before=now - SESSIONS_KEPT),
        Expired(rows_of=AuthEvent.__table__, by=AuthEvent.created_at, before=now - EVENTS_KEPT),
    ]
