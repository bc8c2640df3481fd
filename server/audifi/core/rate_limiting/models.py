"""Tables that belong to no feature. Apart from what uses them, so that migrations start without it."""

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, Text
from sqlalchemy.orm import Mapped, mapped_column

from audifi.core.db.connection import Base


class RateLimitCounter(Base):
    """How often, in the window that ends at expires_at. Unlogged: a crash of PostgreSQL may forget it."""

    __tablename__ = "rate_limit_counters"
    __table_args__ = ({"prefixes": ["UNLOGGED"]},)

    key: Mapped[str] = mapped_column(Text, primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
