"""The record of e-mails: by whom they are found, whether the provider accepted them, and for how long that is kept."""

import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import bindparam, update
from sqlalchemy.dialects.postgresql import insert

from audifi.core.clock import Clock
from audifi.core.config.derived_keys import derive_key
from audifi.core.db.database import Database
from audifi.core.db.retention import ExpiredRows
from audifi.core.db.statements import Statement, parameters
from audifi.core.email.sender import Email, EmailError, EmailSender
from audifi.emails.models import EmailMessage

MESSAGES_KEPT = timedelta(days=30)
"""As long as JWT_SECRET_PREVIOUS, with which the hashes of earlier e-mails are made."""

MESSAGES = EmailMessage.__table__
ADD_MESSAGE = Statement(
    insert(MESSAGES)
    .values(parameters("id", "address_hash", "purpose", "created_at"))
    .on_conflict_do_nothing(index_elements=["id"])
)
SET_RESULT = Statement(
    update(MESSAGES)
    .where(MESSAGES.c.id == bindparam("message_id"))
    .values(accepted_at=bindparam("new_accepted_at"), error=bindparam("new_error"))
)


class AddressHashes:
    """Keyed hashes of addresses, which only a holder of JWT_SECRET can compute."""

    def __init__(self, secrets: Sequence[SecretStr | None]) -> None:
        """
        Args:
            secrets: the current one, then the previous one if there is one.
        """
        self._keys = [derive_key(secret, "e-mail address") for secret in secrets if secret]

    def of(self, address: str) -> list[bytes]:
        """Return the hash that is stored for an address, and the one that was stored under the previous secret."""
        return [hmac.digest(key, address.lower().encode(), "sha256") for key in self._keys]


class RecordingSender:
    """Records each e-mail before it is sent, so that no event about it comes too early, and then the result."""

    def __init__(self, sender: EmailSender, *, database: Database, hashes: AddressHashes, clock: Clock) -> None:
        self._sender = sender
        self._database = database
        self._hashes = hashes
        self._clock = clock

    async def send(self, email: Email) -> None:
        message_id = UUID(email.message_id)
        await self._database.execute(
            ADD_MESSAGE,
            id=message_id,
            address_hash=self._hashes.of(email.to)[0],
            purpose=email.purpose,
            created_at=self._clock(),
        )
        try:
            await self._sender.send(email)
        except EmailError as error:
            await self._database.execute(SET_RESULT, message_id=message_id, new_accepted_at=None, new_error=str(error))
            raise
        await self._database.execute(SET_RESULT, message_id=message_id, new_accepted_at=self._clock(), new_error=None)

    async def close(self) -> None:
        await self._sender.close()


def expired(now: datetime) -> list[ExpiredRows]:
    """Return the expired rows; their events go with them."""
    return [ExpiredRows(table=MESSAGES, by=MESSAGES.c.created_at, before=now - MESSAGES_KEPT)]
