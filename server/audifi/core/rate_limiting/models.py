"""The table of rate limit counters. Its own module, so that migrations import no limiter."""

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, Text
from sqlalchemy.orm import Mapped, mapped_column

from audifi.core.db.base import Base


class RateLimitCounter(Base):
    """The count of one limit and subject in the window that ends at `expires_at`.

    Unlogged: a crash of PostgreSQL may reset the counters.
    """

    __tablename__ = "rate_limit_counters"
    __table_args__ = ({"prefixes": ["UNLOGGED"]},)

    key: Mapped[str] = mapped_column(Text, primary_key=True)
    """An HMAC of limit and subject (`CounterKeys`)."""
    count: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
