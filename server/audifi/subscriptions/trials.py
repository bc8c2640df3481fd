"""Trials: once for an account, once for a mailbox and once for a card. Mailboxes and cards are kept as keyed hashes."""

import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import bindparam, exists, or_, select
from sqlalchemy.dialects import postgresql

from audifi.auth.addresses import mailbox_key
from audifi.auth.models import User
from audifi.core.config.derived_keys import derive_key
from audifi.core.db.database import Transaction
from audifi.core.db.statements import Statement, parameters
from audifi.subscriptions.models import TrialUse

if TYPE_CHECKING:
    from audifi.services import Services

_trials = TrialUse.__table__
EMAIL = Statement(select(User.email_key).where(User.id == bindparam("user_id")))
OF_ACCOUNT = Statement(
    select(_trials.c.subscription_id, _trials.c.is_refused).where(_trials.c.user_id == bindparam("owner_id"))
)
WAS_USED = Statement(
    select(
        exists().where(or_(_trials.c.user_id == bindparam("owner_id"), _trials.c.mailbox_hash == bindparam("mailbox")))
    )
)
INSERT = Statement(
    postgresql.insert(_trials)
    .values(parameters("user_id", "card_hash", "mailbox_hash", "subscription_id", "used_at", "is_refused"))
    .on_conflict_do_nothing()
)


@dataclass(frozen=True, slots=True)
class _Trial:
    subscription_id: UUID
    is_refused: bool


async def is_offered(services: "Services", *, user_id: UUID, email_key: str) -> bool:
    """Return whether the account may begin a trial. Whether the card may is known only when it was given."""
    mailbox = _digest(services, "mailbox", mailbox_key(email_key))
    return not await services.database.fetch_value(WAS_USED, owner_id=user_id, mailbox=mailbox)


async def take(
    services: "Services",
    transaction: Transaction,
    *,
    user_id: UUID,
    subscription_id: UUID,
    fingerprint: str | None,
    now: datetime,
) -> bool:
    """Record the trial of a subscription; return False where the account, its mailbox or the card has had one.

    It is recorded once; a refusal is, too, so that the account isn't offered another one. Of two transactions with one
    card the second waits for the first.
    """
    known = await transaction.fetch_one(OF_ACCOUNT, _Trial, owner_id=user_id)
    if known is None:
        email_key = str(await transaction.fetch_value(EMAIL, user_id=user_id))
        values = {"user_id": user_id, "subscription_id": subscription_id, "used_at": now}
        hashes = {
            "card_hash": _digest(services, "card", fingerprint) if fingerprint else None,
            "mailbox_hash": _digest(services, "mailbox", mailbox_key(email_key)),
        }
        if await transaction.execute(INSERT, **values, **hashes, is_refused=False):
            return True
        await transaction.execute(INSERT, **values, card_hash=None, mailbox_hash=None, is_refused=True)
        return False
    return known.subscription_id == subscription_id and not known.is_refused


def _digest(services: "Services", kind: str, value: str) -> bytes:
    key = derive_key(services.settings.jwt_secret, f"trial {kind}")
    return hmac.digest(key, value.encode(), "sha256")
