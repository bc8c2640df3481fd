"""The table of stored responses to requests with an `Idempotency-Key`."""

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from audifi.core.db.base import Base


class IdempotencyKey(Base):
    """A key that was used, with the answer; written in the transaction of the request's effect."""

    __tablename__ = "idempotency_keys"

    id: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    """SHA-256 of the account and the key."""
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    """SHA-256 of the method, the path and the body."""
    status: Mapped[int] = mapped_column(BigInteger)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
