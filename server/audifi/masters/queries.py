"""Read queries of masters."""

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import Text, bindparam, literal_column, select

from audifi.core.db.pagination import PagedList
from audifi.core.db.statements import Statement
from audifi.masters.models import Master, MasterStatus, MasterType
from audifi.masters.schemas import Collaborator, Track


@dataclass(frozen=True, slots=True)
class MasterRow:
    """A master without its tracks and collaborators."""

    id: UUID
    artist_id: UUID
    type: MasterType
    title: str
    description: str
    genre: str
    bpm: int | None
    duration_seconds: int | None
    release_date: date
    mood_tags: list[str]
    upc: str | None
    status: MasterStatus
    rejection_reason: str | None
    suspended_at: datetime | None
    rights_confirmed_at: datetime | None
    audio_sha256: bytes | None
    cover_sha256: bytes | None
    version: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class FullMasterRow(MasterRow):
    """A master with its tracks and collaborators, as JSON."""

    tracks_json: str
    collaborators_json: str

    @property
    def tracks(self) -> list[Track]:
        return TRACKS.validate_json(self.tracks_json)

    @property
    def collaborators(self) -> list[Collaborator]:
        return COLLABORATORS.validate_json(self.collaborators_json)


TRACKS = TypeAdapter(list[Track])
COLLABORATORS = TypeAdapter(list[Collaborator])
COLUMNS = [Master.__table__.c[name] for name in MasterRow.__dataclass_fields__]
TRACKS_JSON = """
    (SELECT coalesce(json_agg(json_build_object('title', title, 'isrc', isrc, 'iswc', iswc) ORDER BY position), '[]')
     FROM master_tracks WHERE master_id = masters.id)::text
"""
COLLABORATORS_JSON = """
    (SELECT coalesce(json_agg(json_build_object(
        'user_id', user_id, 'name', name, 'role', role, 'split_bps', split_bps) ORDER BY position), '[]')
     FROM master_collaborators WHERE master_id = masters.id)::text
"""
FULL = select(
    *COLUMNS,
    literal_column(TRACKS_JSON, Text).label("tracks_json"),
    literal_column(COLLABORATORS_JSON, Text).label("collaborators_json"),
).where(Master.id == bindparam("master_id"))

GET = Statement(FULL)
GET_OWN = Statement(FULL.where(Master.artist_id == bindparam("artist_id")))
LOCK_OWN = Statement(FULL.where(Master.artist_id == bindparam("artist_id")).with_for_update(key_share=True))
MASTERS = PagedList(
    "masters",
    select(*COLUMNS).where(Master.artist_id == bindparam("artist_id")),
    MasterRow,
    key=Master.id,
    sorts={"created_at": Master.created_at},
    filters={"status": Master.status == bindparam("status")},
)
