"""Finds the masters of lines: by the ISRC, else by the UPC, which must be that of one offered master."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Text, any_, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from audifi.core.db.database import Database
from audifi.core.db.statements import Statement
from audifi.ipos.models import Ipo
from audifi.masters.models import Master, MasterTrack
from audifi.royalties.lines import Line

MAX_REMEMBERED = 100_000

MASTERS = Master.__table__
TRACKS = MasterTrack.__table__
IPOS = Ipo.__table__
HAS_OFFERING = (
    select(IPOS.c.id)
    .where(IPOS.c.master_id == MASTERS.c.id, text("ipos.status IN ('live', 'paused', 'completed')"))
    .exists()
)
# `offered` is the condition of the unique index: an ISRC is in one offered master.
BY_ISRC = Statement(
    select(TRACKS.c.isrc.label("identifier"), MASTERS.c.id.label("master_id"), MASTERS.c.artist_id)
    .join_from(TRACKS, MASTERS, MASTERS.c.id == TRACKS.c.master_id)
    .where(TRACKS.c.isrc == any_(bindparam("isrcs", type_=ARRAY(Text))), TRACKS.c.offered, HAS_OFFERING)
)
BY_UPC = Statement(
    select(
        MASTERS.c.upc.label("identifier"),
        func.min(MASTERS.c.id.cast(Text)).cast(MASTERS.c.id.type).label("master_id"),
        func.min(MASTERS.c.artist_id.cast(Text)).cast(MASTERS.c.id.type).label("artist_id"),
    )
    .where(
        MASTERS.c.upc == any_(bindparam("upcs", type_=ARRAY(Text))),
        text("masters.status = 'offered'"),
        HAS_OFFERING,
    )
    .group_by(MASTERS.c.upc)
    .having(func.count() == 1)
)


@dataclass(frozen=True, slots=True)
class MatchRow:
    identifier: str | None
    master_id: UUID
    artist_id: UUID


class Matcher:
    """Looks identifiers up, and remembers the result. It reveals no other artist's masters: they match nothing."""

    def __init__(self, database: Database, artist_id: UUID | None) -> None:
        """Create a matcher.

        Args:
            database: where to look.
            artist_id: whose masters match; None: those of all artists.
        """
        self._database = database
        self._artist_id = artist_id
        self._masters: dict[tuple[bool, str], UUID | None] = {}
        """By whether the identifier is an ISRC, and the identifier."""

    async def masters_of(self, lines: Sequence[Line]) -> list[UUID | None]:
        """Return the master of each line; None where it has none."""
        keys = [(bool(line.isrc), line.identifier) for line in lines]
        if unknown := set(keys) - self._masters.keys():
            if len(self._masters) > MAX_REMEMBERED:
                self._masters = {}
                unknown = set(keys)
            await self._look_up(unknown)
        return [self._masters[key] for key in keys]

    async def _look_up(self, unknown: set[tuple[bool, str]]) -> None:
        self._masters.update(dict.fromkeys(unknown))
        isrcs = [identifier for is_isrc, identifier in unknown if is_isrc]
        upcs = [identifier for is_isrc, identifier in unknown if not is_isrc and identifier]
        for is_isrc, rows in (
            (True, await self._database.fetch_all(BY_ISRC, MatchRow, isrcs=isrcs)),
            (False, await self._database.fetch_all(BY_UPC, MatchRow, upcs=upcs)),
        ):
            for row in rows:
                if row.identifier is not None and self._artist_id in {None, row.artist_id}:
                    self._masters[is_isrc, row.identifier] = row.master_id
