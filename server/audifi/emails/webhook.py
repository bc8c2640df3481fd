"""SendGrid's signed Event Webhook: verify a request, read its events, and record them.

https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from sqlalchemy import DateTime, Text, Uuid, bindparam, column, func, select
from sqlalchemy.dialects.postgresql import ARRAY, insert

from audifi.core.config.public_key import PublicKey
from audifi.core.db.database import Database
from audifi.core.db.statements import Statement
from audifi.core.http.problems import FieldError, invalid
from audifi.core.telemetry.redaction import redact
from audifi.emails import problems
from audifi.emails.models import REASON_MAX_LENGTH, EmailEvent, EmailEventName
from audifi.emails.records import MESSAGES

MAX_BODY_BYTES = 1 << 20
"""SendGrid sends up to 768 KB, of all e-mails of its account."""
MAX_EVENTS = 5000
"""More than 768 KB can hold: an event has its ids, an address and a time, 200 bytes at least."""
MAX_AGE = timedelta(hours=25)
"""SendGrid repeats a request for 24 hours, perhaps with its first timestamp. A replay changes nothing."""
MAX_CLOCK_SKEW = timedelta(minutes=5)
YEAR_2100 = 4_102_444_800


class DeliveryEvent(BaseModel):
    """An event about an e-mail of this server, as SendGrid sends it; other members are ignored."""

    message_id: UUID
    """Of the e-mail's `custom_args`, which SendGrid merges into its events."""
    event: Literal["delivered", "deferred", "dropped", "bounce", "spamreport"]
    timestamp: Annotated[int, Field(ge=0, le=YEAR_2100)]
    type: str | None = None
    """Of a bounce: `bounce` or `blocked`."""
    reason: str | None = None
    response: str | None = None
    """A mail server's, of `deferred` and `delivered`."""

    @property
    def name(self) -> EmailEventName:
        return "blocked" if self.event == "bounce" and self.type == "blocked" else self.event

    @property
    def explanation(self) -> str:
        """The reason without addresses, which mail servers like to quote."""
        text = redact(self.reason or self.response or "")
        return "".join(filter(str.isprintable, text))[:REASON_MAX_LENGTH]


# An event that SendGrid adds or changes must not keep the others from being recorded.
BATCH: TypeAdapter[list[DeliveryEvent | Any]] = TypeAdapter(
    Annotated[list[Annotated[DeliveryEvent | Any, Field(union_mode="left_to_right")]], Field(max_length=MAX_EVENTS)]
)


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    event: EmailEventName


def _record_statement() -> Statement:
    """Return the upsert of events about known e-mails, in the order of their keys so that no two deadlock."""
    arrays: dict[str, Any] = {"message_id": Uuid, "event": Text, "reason": Text, "occurred_at": DateTime(timezone=True)}
    received = (
        func.unnest(*[bindparam(f"{name}s", type_=ARRAY(kind)) for name, kind in arrays.items()])
        .table_valued(*[column(name, kind) for name, kind in arrays.items()])
        .render_derived("received")
    )
    known = (
        select(*received.c)
        .join(MESSAGES, MESSAGES.c.id == received.c.message_id)
        .order_by(received.c.message_id, received.c.event)
    )
    new = insert(EmailEvent).from_select([*arrays], known)
    return Statement(
        new.on_conflict_do_update(
            index_elements=["message_id", "event"],
            set_={"reason": new.excluded.reason, "occurred_at": new.excluded.occurred_at},
            where=EmailEvent.occurred_at < new.excluded.occurred_at,
        ).returning(EmailEvent.event)
    )


RECORD = _record_statement()


def verify(key: PublicKey, *, signature: str, timestamp: str, body: bytes, now: datetime) -> None:
    """Verify that SendGrid signed this request, at most a day ago.

    Raises:
        Problem: 403.
    """
    is_number = re.fullmatch(r"[0-9]{1,12}", timestamp)
    if not (is_number and key.is_genuine(signature, timestamp.encode() + body)):
        raise problems.signature_invalid()
    age = now.timestamp() - int(timestamp)
    if not -MAX_CLOCK_SKEW.total_seconds() <= age <= MAX_AGE.total_seconds():
        raise problems.signature_expired()


def parse(body: bytes) -> list[DeliveryEvent]:
    """Return the events about e-mails of this server that are worth a record.

    Raises:
        Problem: 422, the body isn't a JSON array, or has too many events.
    """
    try:
        batch = BATCH.validate_json(body)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        raise invalid([FieldError(code=detail["type"], detail=detail["msg"]) for detail in details]) from None
    return [event for event in batch if isinstance(event, DeliveryEvent)]


async def record(database: Database, events: Sequence[DeliveryEvent]) -> list[EmailEventName]:
    """Record the newest event of each kind about each e-mail; return the names of new events."""
    newest = {(event.message_id, event.name): event for event in sorted(events, key=lambda event: event.timestamp)}
    if not newest:
        return []
    rows = await database.write_all(
        RECORD,
        RecordedEvent,
        message_ids=[message_id for message_id, _ in newest],
        events=[name for _, name in newest],
        reasons=[event.explanation for event in newest.values()],
        occurred_ats=[datetime.fromtimestamp(event.timestamp, UTC) for event in newest.values()],
    )
    return [row.event for row in rows]
