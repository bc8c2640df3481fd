"""Background jobs of sign-in, and the retention of its rows."""

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Self
from uuid import UUID

from sqlalchemy import Uuid, bindparam, insert, literal, select
from uuid6 import uuid7

from audifi.auth.emails import sign_in_mail
from audifi.auth.models import AuthEvent, Session, SignInFlow, User
from audifi.auth.tokens import Keys, Link
from audifi.core.clock import Clock
from audifi.core.db.database import Database
from audifi.core.db.retention import ExpiredRows
from audifi.core.db.statements import Statement
from audifi.core.email.sender import Email, EmailError, EmailSender
from audifi.core.jobs.queue import JobType, PermanentJobError

if TYPE_CHECKING:
    from audifi.services import Services

SIGN_IN_EMAIL = "sign_in_email"
CODE_EXHAUSTED = "code_exhausted"
ATTEMPTS = 12
"""The attempts take 7 of the link's 10 minutes."""
FLOWS_KEPT = timedelta(days=1)
SESSIONS_KEPT = timedelta(days=30)
EVENTS_KEPT = timedelta(days=366)  # a trigger refuses to delete younger events

FIND_FLOW = Statement(
    select(
        SignInFlow.token_hash,
        SignInFlow.consumed_at,
        SignInFlow.created_at,
        SignInFlow.expires_at,
        SignInFlow.email,
        User.email.label("user_email"),
    )
    .outerjoin(User, User.email_key == SignInFlow.email_key)
    .where(SignInFlow.id == bindparam("flow_id"))
)


@dataclass(frozen=True, slots=True)
class FlowToMail:
    token_hash: bytes
    consumed_at: datetime | None
    created_at: datetime
    expires_at: datetime
    email: str
    """The requested address."""
    user_email: str | None
    """The account's address, if the account exists."""


@dataclass(frozen=True, kw_only=True)
class SignInEmail:
    """The job's payload: the seed from which the link is derived with MAGIC_LINK_SECRET."""

    flow_id: UUID
    seed: bytes = field(repr=False)
    """32 random bytes."""

    def to_bytes(self) -> bytes:
        return self.flow_id.bytes + self.seed

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        return cls(flow_id=UUID(bytes=payload[:16]), seed=payload[16:])


async def send_email(sender: EmailSender, email: Email) -> None:
    """Send an e-mail from a job.

    Raises:
        EmailError: another attempt may help.
        PermanentJobError: it wouldn't.
    """
    try:
        await sender.send(email)
    except EmailError as error:
        if error.permanent:
            raise PermanentJobError(str(error)) from None
        raise


def sign_in_emails(*, database: Database, keys: Keys, mailer: EmailSender, app_url: str, clock: Clock) -> JobType:
    """Return the job that sends a link and a code.

    The recipient is the account's address, if the account exists: another spelling could reach another mailbox.
    """

    async def send(payload: bytes) -> None:
        job = SignInEmail.from_bytes(payload)
        flow = await database.fetch_one(FIND_FLOW, FlowToMail, flow_id=job.flow_id)
        if flow is None or flow.consumed_at is not None:
            return  # signed in meanwhile
        remaining = flow.expires_at - clock()
        if remaining <= timedelta():
            raise PermanentJobError("the link has expired before its e-mail could be sent")
        link = _link(keys, job.seed, flow)
        mail = sign_in_mail(
            to=flow.user_email or flow.email,
            link=f"{app_url}/auth/verify#token={link.token}",
            code=link.code,
            minutes=math.ceil(remaining.total_seconds() / 60),
            requested_at=flow.created_at,
            message_id=str(job.flow_id),
        )
        await send_email(mailer, mail)

    return JobType(name=SIGN_IN_EMAIL, handler=send, attempts=ATTEMPTS)


EVENTS = AuthEvent.__table__
RECORD_EXHAUSTED_CODE = Statement(
    insert(EVENTS).from_select(
        ["id", "event", "user_id", "ip", "user_agent", "created_at"],
        select(
            bindparam("event_id", type_=Uuid),
            literal("code.exhausted"),
            User.id,
            SignInFlow.ip,
            SignInFlow.user_agent,
            bindparam("now", type_=EVENTS.c.created_at.type),
        )
        .join_from(SignInFlow, User, User.email_key == SignInFlow.email_key)
        .where(SignInFlow.id == bindparam("flow_id")),
    )
)


def exhausted_codes(*, database: Database, clock: Clock) -> JobType:
    """Return the job that records in the account's audit log that a code's attempts were exhausted.

    A job, not a step of the request, whose duration would reveal whether the account exists.
    """

    async def record(payload: bytes) -> None:
        await database.execute(RECORD_EXHAUSTED_CODE, event_id=uuid7(), flow_id=UUID(bytes=payload), now=clock())

    return JobType(name=CODE_EXHAUSTED, handler=record, attempts=ATTEMPTS)


def job_types(services: "Services") -> list[JobType]:
    """Return the jobs of sign-in."""
    return [
        sign_in_emails(
            database=services.background_database,
            keys=services.keys,
            mailer=services.email_sender,
            app_url=services.settings.app_url,
            clock=services.clock,
        ),
        exhausted_codes(database=services.background_database, clock=services.clock),
    ]


def _link(keys: Keys, seed: bytes, flow: FlowToMail) -> Link:
    for link in keys.links(seed, email=flow.email):
        if flow.token_hash in keys.digests("link token", link.token):
            return link
    raise PermanentJobError("MAGIC_LINK_SECRET has changed since, and MAGIC_LINK_SECRET_PREVIOUS isn't the one before")


def expired(now: datetime) -> list[ExpiredRows]:
    """Return the expired rows. Ended flows and sessions are kept for a while, so that clients get a precise error."""

    return [
        ExpiredRows(table=SignInFlow.__table__, by=SignInFlow.expires_at, before=now - FLOWS_KEPT),
        ExpiredRows(table=Session.__table__, by=Session.idle_expires_at, before=now - SESSIONS_KEPT),
        ExpiredRows(table=Session.__table__, by=Session.revoked_at, before=now - SESSIONS_KEPT),
        ExpiredRows(table=EVENTS, by=EVENTS.c.created_at, before=now - EVENTS_KEPT),
    ]
