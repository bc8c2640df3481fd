from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Literal
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, INET
from sqlalchemy.orm import Mapped, mapped_column

from audifi.core.db.base import Base, one_of

type Delivery = Literal["cookie", "body"]
"""Where a client keeps its flow secret and refresh token: browsers in cookies, native apps in their own storage."""
type Role = Literal["fan", "artist", "producer", "admin"]
type RevokedReason = Literal[
    "signed_out", "replaced", "too_many", "reused", "suspended", "account_deleted", "signed_out_by_operator"
]
type EventName = Literal[
    "user.created",
    "user.updated",
    "user.deleted",
    "user.role_changed",
    "user.suspended",
    "user.restored",
    "session.created",
    "session.revoked",
    "sign_in.refused",
    "code.exhausted",
    "refresh_token.reused",
]

Instant = DateTime(timezone=True)


class User(Base):
    """An account, identified by an e-mail address. Deleting it empties the row; features refer to its id."""

    __tablename__ = "users"
    __table_args__ = (
        UniqueConstraint("email_key"),
        CheckConstraint("char_length(email) <= 254", name="email_length"),  # RFC 5321, 4.5.3.1.3
        CheckConstraint("char_length(email_key) <= 254", name="email_key_length"),
        CheckConstraint("char_length(display_name) BETWEEN 1 AND 80", name="display_name_length"),
        CheckConstraint(one_of("role", Role), name="role"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)  # UUIDv7 (RFC 9562, 5.7), made by the application
    email: Mapped[str] = mapped_column(Text)  # as written, the domain in ASCII; mail goes here
    email_key: Mapped[str] = mapped_column(Text)  # one per mailbox: lower case, domain in ASCII
    display_name: Mapped[str | None] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text, server_default=text("'fan'"))
    disabled_at: Mapped[datetime | None] = mapped_column(Instant)
    deleted_at: Mapped[datetime | None] = mapped_column(Instant)
    created_at: Mapped[datetime] = mapped_column(Instant)


class SignInFlow(Base):
    """A started sign-in: open until its link or code is used, for 10 minutes at most."""

    __tablename__ = "sign_in_flows"
    __table_args__ = (
        UniqueConstraint("token_hash"),
        CheckConstraint("code_attempts BETWEEN 0 AND 5", name="code_attempts"),
        CheckConstraint("char_length(email) <= 254 AND char_length(email_key) <= 254", name="email_length"),
        CheckConstraint("char_length(redirect_to) <= 2048", name="redirect_to_length"),
        CheckConstraint("char_length(user_agent) <= 256", name="user_agent_length"),
        CheckConstraint(one_of("delivery", Delivery), name="delivery"),
        Index(None, "email_key", "created_at"),
        Index(None, "expires_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(Text)  # as written
    email_key: Mapped[str] = mapped_column(Text)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary)  # the three hashes are made by Keys.digests
    code_hash: Mapped[bytes] = mapped_column(LargeBinary)
    flow_hash: Mapped[bytes] = mapped_column(LargeBinary)
    code_attempts: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    delivery: Mapped[str] = mapped_column(Text)
    redirect_to: Mapped[str | None] = mapped_column(Text)
    ip: Mapped[IPv4Address | IPv6Address | None] = mapped_column(INET)
    user_agent: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant)
    expires_at: Mapped[datetime] = mapped_column(Instant)
    consumed_at: Mapped[datetime | None] = mapped_column(Instant)


class Session(Base):
    """A session on one device. Each refresh increments the generation of its refresh token."""

    __tablename__ = "sessions"
    __table_args__ = (
        CheckConstraint("generation >= 0", name="generation"),
        CheckConstraint("idle_expires_at <= absolute_expires_at", name="expires_at"),
        CheckConstraint("(revoked_at IS NULL) = (revoked_reason IS NULL)", name="revoked"),
        CheckConstraint(one_of("revoked_reason", RevokedReason), name="revoked_reason"),
        CheckConstraint("char_length(user_agent) <= 256", name="user_agent_length"),
        Index("ix_sessions_user_id", "user_id", postgresql_where=text("revoked_at IS NULL")),
        Index("ix_sessions_revoked_at", "revoked_at", postgresql_where=text("revoked_at IS NOT NULL")),
        Index(None, "idle_expires_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    refresh_nonce: Mapped[bytes] = mapped_column(LargeBinary)  # 32 random bytes
    generation: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    rotated_at: Mapped[datetime] = mapped_column(Instant)
    auth_time: Mapped[datetime] = mapped_column(Instant)
    amr: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column(Instant)
    last_used_at: Mapped[datetime] = mapped_column(Instant)
    idle_expires_at: Mapped[datetime] = mapped_column(Instant)
    absolute_expires_at: Mapped[datetime] = mapped_column(Instant)
    revoked_at: Mapped[datetime | None] = mapped_column(Instant)
    revoked_reason: Mapped[str | None] = mapped_column(Text)
    ip: Mapped[IPv4Address | IPv6Address | None] = mapped_column(INET)
    user_agent: Mapped[str | None] = mapped_column(Text)


class AuthEvent(Base):
    """The audit log. A trigger makes it append-only. Without foreign keys, because events outlive sessions."""

    __tablename__ = "auth_events"
    __table_args__ = (
        CheckConstraint(one_of("event", EventName), name="event"),
        CheckConstraint("char_length(detail) <= 500", name="detail_length"),
        CheckConstraint("char_length(actor) <= 100", name="actor_length"),
        CheckConstraint("char_length(user_agent) <= 256", name="user_agent_length"),
        Index(None, "user_id", "id"),
        Index(None, "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    event: Mapped[str] = mapped_column(Text)
    user_id: Mapped[UUID] = mapped_column()
    session_id: Mapped[UUID | None] = mapped_column()
    actor: Mapped[str | None] = mapped_column(Text)  # an operator; null for the account's owner
    detail: Mapped[str | None] = mapped_column(Text)
    ip: Mapped[IPv4Address | IPv6Address | None] = mapped_column(INET)
    user_agent: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant)
