"""Stripe's webhooks: verify a request, and record which object to look at. No other part of an event is read.

https://docs.stripe.com/webhooks
"""

# ruff: noqa: S608 - SQL is made of constants

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field, SecretStr, ValidationError
from sqlalchemy import Boolean, text

from audifi.core.db.database import Database
from audifi.core.db.statements import Statement
from audifi.payments import problems
from audifi.payments.measures import EVENT_AGES, EVENTS
from audifi.payments.syncs import FIRST_LOOK, QUEUE_JOB, RAISE

if TYPE_CHECKING:
    from audifi.services import Services

MAX_BODY_BYTES = 512 * 1024
MAX_CLOCK_SKEW = timedelta(minutes=5)
YEAR_2100 = 4_102_444_800

Text = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[!-~]+$")]


class _Object(BaseModel):
    id: Text
    object: Text


class _Data(BaseModel):
    object: _Object


class StripeEvent(BaseModel):
    """What is read of an event. Other members are ignored."""

    id: Text
    type: Text
    created: Annotated[int, Field(ge=0, le=YEAR_2100)]
    livemode: bool
    data: _Data
    account: Text | None = None
    api_version: Text | None = None


RECORD = Statement(
    text(f"""
        WITH event AS (
            INSERT INTO provider_events (event_id, type, object_kind, object_id, account, livemode, api_version,
                created, received_at, status, sync_kind, sync_id)
            VALUES (:event_id, :type, :object_kind, :object_id, :account, :livemode, :api_version, :created, :now,
                :status, :sync_kind, :sync_id)
            ON CONFLICT (event_id) DO NOTHING RETURNING sync_kind AS kind, sync_id AS provider_id
        ), followed AS (
            SELECT kind, provider_id, CAST(:next_at AS timestamptz) AS next_at FROM event WHERE kind IS NOT NULL
        ), sync AS ({RAISE.format(source="followed")}), job AS ({QUEUE_JOB} FROM sync)
        SELECT EXISTS (SELECT FROM event) AS is_new""").columns(is_new=Boolean)
)


@dataclass(frozen=True, slots=True)
class _Recorded:
    is_new: bool


def verify(secrets: Sequence[SecretStr | None], *, header: str | None, body: bytes, now: datetime) -> None:
    """Verify that Stripe signed this request, at most 5 minutes ago or ahead.

    Raises:
        Problem: `webhook.signature_missing`, `webhook.signature_invalid`, `webhook.stale`.
    """
    if not header:
        raise problems.signature_missing()
    from audifi.payments import transport  # noqa: PLC0415 - slow to import

    try:
        content = body.decode()
    except UnicodeDecodeError:
        raise problems.signature_invalid() from None
    values = [secret.get_secret_value() for secret in secrets if secret]
    if not any(transport.is_signed(content, header, value) for value in values if value):
        raise problems.signature_invalid()
    # The package reads the clock itself, and accepts any time in the future.
    signed_at = next(int(part.split("=")[1]) for part in header.split(",") if part.startswith("t="))
    if abs(now.timestamp() - signed_at) > MAX_CLOCK_SKEW.total_seconds():
        raise problems.webhook_stale()


def parse(body: bytes) -> StripeEvent:
    """
    Raises:
        Problem: `webhook.malformed`.
    """
    try:
        return StripeEvent.model_validate_json(body)
    except ValidationError:
        raise problems.webhook_malformed() from None


async def record(services: "Services", database: Database, event: StripeEvent, *, is_connected: bool) -> None:
    """Record an event once, and have its object fetched where something follows it. One round trip.

    An event of the other mode is ignored: live Connect endpoints get those of test mode, too.
    """
    now = services.clock()
    kind = services.syncs.following(event.type, is_connected=is_connected)
    if event.livemode != services.settings.is_live or (is_connected and event.account is None):
        kind = None
    thing = event.data.object
    status = "queued" if kind else "ignored"
    recorded = await database.write_one(
        RECORD,
        _Recorded,
        event_id=event.id,
        type=event.type,
        object_kind=thing.object,
        object_id=thing.id,
        account=event.account,
        livemode=event.livemode,
        api_version=event.api_version,
        created=datetime.fromtimestamp(event.created, UTC),
        now=now,
        status=status,
        sync_kind=kind and kind.name,
        sync_id=kind and (f"{event.account}/{thing.id}" if is_connected else thing.id),
        next_at=now + FIRST_LOOK,
    )
    is_new = recorded is not None and recorded.is_new
    if is_new and kind:
        services.jobs.wake()
    services.metrics.count(EVENTS, event.type if kind else "other", status if is_new else "duplicate")
    if is_new:
        services.metrics.observe(EVENT_AGES, max(0.0, now.timestamp() - event.created))
