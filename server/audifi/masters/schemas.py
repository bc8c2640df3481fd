"""Request and response schemas of masters."""

import re
import unicodedata
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from audifi.core.http.schemas import Id, Instant, Page, RequestModel, ResponseModel
from audifi.masters.identifiers import parse_isrc, parse_iswc, parse_upc
from audifi.masters.media import AUDIO_TYPES, COVER_TYPES
from audifi.masters.models import (
    MAX_COLLABORATORS,
    MAX_MOOD_TAGS,
    MAX_TRACKS,
    MasterStatus,
    MasterType,
    RightsHolder,
    UploadFailure,
    UploadKind,
    UploadStatus,
)

MAX_BPS = 10_000
MAX_AUDIO_BYTES = 500 << 20
MAX_COVER_BYTES = 20 << 20
KINDS = {"audio": (AUDIO_TYPES, MAX_AUDIO_BYTES), "cover": (COVER_TYPES, MAX_COVER_BYTES)}
"""Content types and size of each kind of file."""
MAX_IDENTIFIER_LENGTH = 24
LINE_BREAKS = "\n\r\t"
BIDIRECTIONAL = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They make text look like other text (https://trojansource.codes)."""


def _text(value: str) -> str:
    if any(unicodedata.category(character) in {"Cc", "Cs"} or character in BIDIRECTIONAL for character in value):
        raise ValueError("must not contain control characters")
    return value


def _text_of_lines(value: str) -> str:
    _text(value.translate(dict.fromkeys(map(ord, LINE_BREAKS))))
    return value


def _calendar_date(value: object) -> object:
    """Refuse timestamps, which Pydantic accepts as dates."""
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        raise ValueError("must be a date such as 2026-01-31")
    return value if isinstance(value, (str, date)) else None


def _length(max_length: int) -> StringConstraints:
    return StringConstraints(strip_whitespace=True, min_length=1, max_length=max_length)


Printable = AfterValidator(_text)
Title = Annotated[str, _length(200), Printable, Field(examples=["Midnight Drive"])]
Genre = Annotated[str, _length(100), Printable, Field(examples=["Synthwave"])]
Name = Annotated[str, _length(200), Printable, Field(examples=["Ana Ruiz"])]
CollaboratorRole = Annotated[str, _length(100), Printable, Field(examples=["Producer"])]
Reason = Annotated[str, _length(500), Printable, Field(examples=["The cover shows another artist's name."])]
MoodTag = Annotated[str, _length(40), Printable, Field(examples=["nocturnal"])]
Description = Annotated[
    str, _length(5000), AfterValidator(_text_of_lines), Field(examples=["Written on a night train."])
]
Isrc = Annotated[str, Field(max_length=MAX_IDENTIFIER_LENGTH, examples=["US-RC1-76-07839"]), AfterValidator(parse_isrc)]
Iswc = Annotated[str, Field(max_length=MAX_IDENTIFIER_LENGTH, examples=["T-034.524.680-1"]), AfterValidator(parse_iswc)]
Upc = Annotated[str, Field(max_length=MAX_IDENTIFIER_LENGTH, examples=["036000291452"]), AfterValidator(parse_upc)]
Bpm = Annotated[int, Field(strict=True, ge=1, le=300, examples=[104])]
SplitBps = Annotated[int, Field(strict=True, ge=0, le=MAX_BPS, examples=[2500])]
ReleaseDate = Annotated[date, BeforeValidator(_calendar_date), Field(examples=["2026-01-31"])]
MoodTags = Annotated[list[MoodTag], Field(max_length=MAX_MOOD_TAGS)]
Type = Annotated[MasterType, Field(examples=["track"])]
Status = Annotated[MasterStatus, Field(examples=["draft"])]
Sort = Literal["created_at", "-created_at"]


class Track(RequestModel):
    """A recording."""

    title: Title
    """1 to 200 characters."""
    isrc: Isrc | None
    """International Standard Recording Code, with or without hyphens; null if it has none."""
    iswc: Iswc | None
    """International Standard Musical Work Code, with or without separators; null if it has none."""


class Collaborator(RequestModel):
    """A person with a part in the master."""

    user_id: Id | None
    """Their account, to which their share of the proceeds goes; if null, it stays with the artist."""
    name: Name
    """As credited."""
    role: CollaboratorRole
    """What they did."""
    split_bps: SplitBps
    """Their share of the artist's proceeds, in basis points. The rest is the artist's."""


def _unique_isrcs(tracks: list[Track]) -> list[Track]:
    isrcs = [track.isrc for track in tracks if track.isrc is not None]
    if len(isrcs) != len(set(isrcs)):
        raise ValueError("must not contain an ISRC twice")
    return tracks


def _splits_within_whole(collaborators: list[Collaborator]) -> list[Collaborator]:
    if sum(collaborator.split_bps for collaborator in collaborators) > MAX_BPS:
        raise ValueError(f"must have splits of at most {MAX_BPS} basis points together")
    return collaborators


Tracks = Annotated[list[Track], Field(max_length=MAX_TRACKS), AfterValidator(_unique_isrcs)]
Collaborators = Annotated[list[Collaborator], Field(max_length=MAX_COLLABORATORS), AfterValidator(_splits_within_whole)]


class MasterCreate(RequestModel):
    """A new master. It starts as a draft."""

    type: Type
    """A track has one recording, an album up to 100. It can't be changed."""
    title: Title
    """1 to 200 characters."""
    description: Description
    """1 to 5,000 characters; may contain line breaks."""
    genre: Genre
    """1 to 100 characters."""
    bpm: Bpm | None = None
    """Tempo in beats per minute."""
    release_date: ReleaseDate
    """A date without a time."""
    mood_tags: MoodTags = Field(default_factory=list)
    """At most 20."""
    upc: Upc | None = None
    """UPC or EAN, 12 or 13 digits."""
    tracks: Tracks = Field(default_factory=list)
    """In order. Needed to submit the master."""
    collaborators: Collaborators = Field(default_factory=list)
    """In the order of the credits."""

    @model_validator(mode="after")
    def _one_recording(self) -> Self:
        if self.type == "track" and len(self.tracks) > 1:
            raise ValueError("a master of type track has one recording")
        return self


class MasterUpdate(RequestModel):
    """The changes. Members that are absent stay as they are; null clears `bpm` and `upc`."""

    title: Title = Field(default_factory=str)
    """1 to 200 characters."""
    description: Description = Field(default_factory=str)
    """1 to 5,000 characters; may contain line breaks."""
    genre: Genre = Field(default_factory=str)
    """1 to 100 characters."""
    bpm: Bpm | None = None
    """Tempo in beats per minute."""
    release_date: ReleaseDate = Field(default_factory=lambda: date.min)
    """A date without a time."""
    mood_tags: MoodTags = Field(default_factory=list)
    """At most 20. They replace the present ones."""
    upc: Upc | None = None
    """UPC or EAN, 12 or 13 digits."""
    tracks: Tracks = Field(default_factory=list)
    """In order. They replace the present ones."""
    collaborators: Collaborators = Field(default_factory=list)
    """In the order of the credits. They replace the present ones."""


class RightsConfirm(RequestModel):
    """An artist's confirmation to hold the rights."""

    statement_version: str = Field(max_length=40, examples=["2026-12-01"])
    """`version` of the statement that the person has read."""
    accepted: Annotated[Literal[True], BeforeValidator(lambda value: value is True)] = Field(examples=[True])
    """That the person accepts the statement."""
    holder: RightsHolder = Field(examples=["owner"])
    """Whether the artist owns the rights or has a license to sell shares of them."""


class Review(RequestModel):
    """An admin's decision."""

    decision: Literal["approved", "rejected"] = Field(examples=["rejected"])
    """Whether shares of the master may be offered."""
    reason: Reason | None = None
    """What the artist has to change. Required to reject, and refused otherwise."""

    @model_validator(mode="after")
    def _reason_to_reject(self) -> Self:
        if (self.decision == "rejected") != (self.reason is not None):
            raise ValueError("must have a reason if, and only if, the decision is rejected")
        return self


class UploadRequest(RequestModel):
    """A file that the client will send."""

    kind: UploadKind = Field(examples=["audio"])
    """Audio: at most 500 MiB. Cover: at most 20 MiB, square, 1400 to 6000 pixels."""
    size: Annotated[int, Field(strict=True, ge=1, le=MAX_AUDIO_BYTES, examples=[31_000_000])]
    """Bytes."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", examples=["9f86d081884c7d65" * 4])]
    """Of the content, in hexadecimal."""
    content_type: Literal[
        "audio/wav", "audio/flac", "audio/aiff", "audio/mpeg", "image/jpeg", "image/png", "image/webp"
    ] = Field(examples=["audio/flac"])
    """What the content is."""

    @model_validator(mode="after")
    def _fits_kind(self) -> Self:
        types, max_bytes = KINDS[self.kind]
        if self.content_type not in types:
            raise ValueError(f"must have one of the content types {', '.join(types)} for this kind")
        if self.size > max_bytes:
            raise ValueError(f"must have at most {max_bytes} bytes for this kind")
        return self


class UploadCreated(ResponseModel):
    """Where to send the file."""

    upload_id: Id
    """Send it to complete the upload."""
    url: str = Field(examples=["https://fly.storage.tigris.dev/audifi/incoming/01930b5a?X-Amz-Signature=…"])
    """`PUT` the content to it, with `headers` and without the access token."""
    headers: dict[str, str] = Field(
        examples=[
            {"Content-Type": "audio/flac", "x-amz-checksum-sha256": "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg="}
        ]
    )
    """To send exactly as they are. The URL's signature covers them and the length."""
    expires_at: Instant
    """When the URL expires."""


class Upload(ResponseModel):
    """An upload."""

    id: Id
    """The upload."""
    kind: UploadKind = Field(examples=["audio"])
    """What it is of the master."""
    status: UploadStatus = Field(examples=["verifying"])
    """pending → verifying → verified or failed; replaced, when a later one was verified."""
    failure: UploadFailure | None = Field(examples=[None])
    """Why it failed; null unless it did. `master.frozen`: the master could no longer be changed."""


class FileLink(ResponseModel):
    """Where a file can be read."""

    url: str = Field(examples=["https://fly.storage.tigris.dev/audifi/sha256/9f86d081?X-Amz-Signature=…"])
    """For 5 minutes. Don't store it."""
    expires_at: Instant
    """When the URL expires."""


class RightsStatement(ResponseModel):
    """The statement that an artist confirms."""

    version: str = Field(examples=["2026-12-01"])
    """Sent with the confirmation."""
    text: str = Field(examples=["I own the rights in these recordings …"])
    """To show to the person, in full."""


class MasterSummary(ResponseModel):
    """A master, as lists show it."""

    id: Id
    """Permanent id."""
    artist_id: Id
    """The artist's account."""
    type: Type
    """A track has one recording, an album up to 100."""
    title: str = Field(examples=["Midnight Drive"])
    """The title."""
    description: str = Field(examples=["Written on a night train."])
    """May contain line breaks."""
    genre: str = Field(examples=["Synthwave"])
    """The genre."""
    bpm: int | None = Field(examples=[104])
    """Tempo in beats per minute."""
    duration_seconds: int | None = Field(examples=[212])
    """Duration of the audio; null until it is verified."""
    release_date: date = Field(examples=["2026-01-31"])
    """A date without a time."""
    mood_tags: list[str] = Field(examples=[["nocturnal"]])
    """Moods."""
    upc: str | None = Field(examples=["0036000291452"])
    """13 digits."""
    status: Status
    """draft → submitted → approved or rejected → offered; archived. A suspended master keeps its status."""
    rejection_reason: str | None = Field(examples=[None])
    """What the artist has to change; null unless the status is `rejected`."""
    suspended_at: Instant | None
    """Since when the master is suspended: nothing of it can be bought, sold, changed or distributed."""
    rights_confirmed_at: Instant | None
    """When the artist confirmed to hold the rights; null if the confirmation is missing or became void."""
    has_audio: bool = Field(examples=[True])
    """Whether verified audio is there."""
    has_cover: bool = Field(examples=[True])
    """Whether a verified cover is there."""
    created_at: Instant
    """Time of the registration."""


class Master(MasterSummary):
    """A master with its recordings and credits."""

    tracks: list[Track]
    """In order."""
    collaborators: list[Collaborator]
    """In the order of the credits."""


class MasterPage(Page[MasterSummary]):
    """A part of the account's masters."""
