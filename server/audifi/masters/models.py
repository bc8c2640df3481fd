"""Tables of masters."""

from datetime import date, datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Date,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from audifi.core.db.base import Base, one_of

type MasterType = Literal["track", "album"]
type MasterStatus = Literal["draft", "submitted", "rejected", "approved", "offered", "archived"]
type RightsHolder = Literal["owner", "licensee"]
type EventName = Literal[
    "submitted", "approved", "rejected", "offered", "offer_ended", "suspended", "restored", "archived"
]
type UploadKind = Literal["audio", "cover"]
type UploadStatus = Literal["pending", "verifying", "verified", "failed", "replaced"]
type UploadFailure = Literal[
    "upload.hash_mismatch",
    "upload.type_mismatch",
    "upload.too_large",
    "upload.unreadable",
    "upload.wrong_dimensions",
    "master.frozen",
]

MAX_TRACKS = 100
MAX_COLLABORATORS = 20
MAX_MOOD_TAGS = 20
Instant = DateTime(timezone=True)


class Master(Base):
    """A master. While `suspended_at` is set, its status stays what it was and nothing but its suspension changes."""

    __tablename__ = "masters"
    __table_args__ = (
        CheckConstraint(one_of("type", MasterType), name="type"),
        CheckConstraint(one_of("status", MasterStatus), name="status"),
        CheckConstraint("char_length(title) BETWEEN 1 AND 200", name="title_length"),
        CheckConstraint("char_length(description) BETWEEN 1 AND 5000", name="description_length"),
        CheckConstraint("char_length(genre) BETWEEN 1 AND 100", name="genre_length"),
        CheckConstraint("bpm BETWEEN 1 AND 300", name="bpm"),
        CheckConstraint("duration_seconds > 0", name="duration"),
        CheckConstraint(f"cardinality(mood_tags) <= {MAX_MOOD_TAGS}", name="mood_tags"),
        CheckConstraint("upc ~ '^[0-9]{13}$'", name="upc"),
        CheckConstraint("(status = 'rejected') = (rejection_reason IS NOT NULL)", name="rejected"),
        CheckConstraint("char_length(rejection_reason) BETWEEN 1 AND 500", name="rejection_reason_length"),
        CheckConstraint("octet_length(audio_sha256) = 32 AND octet_length(cover_sha256) = 32", name="sha256_length"),
        CheckConstraint(
            "status NOT IN ('submitted', 'approved', 'offered')"
            " OR (rights_confirmed_at IS NOT NULL AND audio_sha256 IS NOT NULL AND cover_sha256 IS NOT NULL)",
            name="complete",
        ),
        Index("ix_masters_artist_id_created_at_id", "artist_id", "created_at", "id"),
        Index("ix_masters_upc", "upc", postgresql_where=text("status = 'offered' AND upc IS NOT NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)  # UUIDv7
    artist_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    type: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text)
    genre: Mapped[str] = mapped_column(Text)
    bpm: Mapped[int | None] = mapped_column(BigInteger)
    duration_seconds: Mapped[int | None] = mapped_column(BigInteger)  # of the verified audio
    release_date: Mapped[date] = mapped_column(Date)
    mood_tags: Mapped[list[str]] = mapped_column(ARRAY(Text))
    upc: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    rejection_reason: Mapped[str | None] = mapped_column(Text)
    suspended_at: Mapped[datetime | None] = mapped_column(Instant)
    rights_confirmed_at: Mapped[datetime | None] = mapped_column(Instant)  # of the confirmation that is valid
    audio_sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    cover_sha256: Mapped[bytes | None] = mapped_column(LargeBinary)
    version: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(Instant)


class MasterTrack(Base):
    """A recording of a master. An ISRC is in at most one offered master."""

    __tablename__ = "master_tracks"
    __table_args__ = (
        CheckConstraint(f"position BETWEEN 1 AND {MAX_TRACKS}", name="position"),
        CheckConstraint("char_length(title) BETWEEN 1 AND 200", name="title_length"),
        CheckConstraint("isrc ~ '^[A-Z]{2}[A-Z0-9]{3}[0-9]{7}$'", name="isrc"),
        CheckConstraint("iswc ~ '^T[0-9]{10}$'", name="iswc"),
        Index("uq_master_tracks_isrc", "isrc", unique=True, postgresql_where=text("offered")),
    )

    master_id: Mapped[UUID] = mapped_column(ForeignKey("masters.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    title: Mapped[str] = mapped_column(Text)
    isrc: Mapped[str | None] = mapped_column(Text)
    iswc: Mapped[str | None] = mapped_column(Text)
    offered: Mapped[bool] = mapped_column(server_default=text("false"))  # whether the master is


class MasterCollaborator(Base):
    """A person with a part in a master, and their share of the artist's proceeds."""

    __tablename__ = "master_collaborators"
    __table_args__ = (
        CheckConstraint(f"position BETWEEN 1 AND {MAX_COLLABORATORS}", name="position"),
        CheckConstraint("char_length(name) BETWEEN 1 AND 200", name="name_length"),
        CheckConstraint("char_length(role) BETWEEN 1 AND 100", name="role_length"),
        CheckConstraint("split_bps BETWEEN 0 AND 10000", name="split_bps"),
    )

    master_id: Mapped[UUID] = mapped_column(ForeignKey("masters.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)
    split_bps: Mapped[int] = mapped_column(BigInteger)


# The next two have no foreign key to the account: its check locks the account's row after the master's, and could meet
# the account's deletion, which locks them in the other order.
class RightsConfirmation(Base):
    """An artist's statement to hold the rights. A trigger makes it append-only for as long as the master exists."""

    __tablename__ = "rights_confirmations"
    __table_args__ = (
        CheckConstraint(one_of("holder", RightsHolder), name="holder"),
        CheckConstraint("octet_length(statement_sha256) = 32", name="statement_sha256_length"),
    )

    master_id: Mapped[UUID] = mapped_column(ForeignKey("masters.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column()
    statement_version: Mapped[str] = mapped_column(Text)
    statement_sha256: Mapped[bytes] = mapped_column(LargeBinary)  # of the statement's text
    holder: Mapped[str] = mapped_column(Text)
    ip_prefix: Mapped[str | None] = mapped_column(Text)  # the client's network: its address, shortened
    created_at: Mapped[datetime] = mapped_column(Instant)


class MasterEvent(Base):
    """A change of a master's state. A trigger makes the log append-only for as long as the master exists."""

    __tablename__ = "master_events"
    __table_args__ = (
        CheckConstraint(one_of("event", EventName), name="event"),
        CheckConstraint("char_length(actor) <= 100", name="actor_length"),
        CheckConstraint("char_length(detail) <= 500", name="detail_length"),
    )

    master_id: Mapped[UUID] = mapped_column(ForeignKey("masters.id", ondelete="CASCADE"), primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    event: Mapped[str] = mapped_column(Text)
    user_id: Mapped[UUID | None] = mapped_column()  # null for an operator and for the system
    actor: Mapped[str | None] = mapped_column(Text)  # an operator's name
    detail: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant)


class MasterUpload(Base):
    """A file on its way to a master. The verified one of each kind is the master's; the others' rows are deleted."""

    __tablename__ = "master_uploads"
    __table_args__ = (
        CheckConstraint(one_of("kind", UploadKind), name="kind"),
        CheckConstraint(one_of("status", UploadStatus), name="status"),
        CheckConstraint("size > 0", name="size"),
        CheckConstraint("octet_length(sha256) = 32", name="sha256_length"),
        CheckConstraint("char_length(content_type) <= 100", name="content_type_length"),
        CheckConstraint(one_of("failure", UploadFailure), name="failure"),
        CheckConstraint("(status = 'failed') = (failure IS NOT NULL)", name="failed"),
        CheckConstraint("status NOT IN ('pending', 'verifying', 'verified') OR master_id IS NOT NULL", name="master"),
        Index(
            "uq_master_uploads_master_id_kind",
            "master_id",
            "kind",
            unique=True,
            postgresql_where=text("status = 'verified'"),
        ),
        Index(None, "master_id"),
        Index("ix_master_uploads_artist_id", "artist_id", postgresql_where=text("status IN ('pending', 'verifying')")),
        Index("ix_master_uploads_created_at", "created_at", postgresql_where=text("status <> 'verified'")),
        Index(None, "sha256"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    master_id: Mapped[UUID | None] = mapped_column(ForeignKey("masters.id"))  # null when the master was deleted
    artist_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    kind: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    failure: Mapped[str | None] = mapped_column(Text)
    size: Mapped[int] = mapped_column(BigInteger)  # bytes, as announced; so is the hash
    sha256: Mapped[bytes] = mapped_column(LargeBinary)
    content_type: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[datetime] = mapped_column(Instant)  # of the URL
    created_at: Mapped[datetime] = mapped_column(Instant)
