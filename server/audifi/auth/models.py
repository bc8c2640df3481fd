from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from audifi.core.database import Base


class User(Base):
    """Someone with an account, known by an e-mail address."""

    __tablename__ = "users"
    __table_args__ = (
        UniqueConstraint("email_key"),
        CheckConstraint("char_length(email) <= 254", name="email_length"),  # RFC 5321, 4.5.3.1.3
        CheckConstraint("char_length(email_key) <= 254", name="email_key_length"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)  # UUIDv7 (RFC 9562, 5.7), made by the application
    email: Mapped[str] = mapped_column(Text)  # as written; mail goes here
    email_key: Mapped[str] = mapped_column(Text)  # one per mailbox: lower case, domain in ASCII
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
