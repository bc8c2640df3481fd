"""Masters in each state, with audio and covers that are uploaded as a client uploads them."""

import asyncio
import hashlib
import time
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING
from uuid import UUID

from audifi.core.files.download import temporary_file
from audifi.core.files.store import FileStore, FileStoreError
from audifi.demo.media import make_audio, make_cover
from audifi.demo.world import OPERATOR, DemoError, Part, World
from audifi.masters import rights, service, states, uploads
from audifi.masters.models import MasterType, UploadKind
from audifi.masters.schemas import Collaborator, MasterCreate, Track, UploadRequest
from audifi.masters.states import Actor

if TYPE_CHECKING:
    import httpx2

DAYS_AGO = 38
STORAGE_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class DemoMaster:
    """A master, and how far it has come."""

    artist: str
    title: str
    genre: str
    bpm: int
    description: str
    mood_tags: list[str]
    status: str = "approved"
    type: MasterType = "track"
    tracks: list[str] = field(default_factory=list)
    """Titles; none: the master's own."""
    reason: str | None = None
    """Why it is rejected."""
    isrc: str | None = None
    """Of the first track."""
    producer: str | None = None
    """An account with a fifth of the proceeds."""


MASTERS = (
    DemoMaster(
        artist="parade",
        title="Untitled Demo 4",
        genre="Indie",
        bpm=100,
        description="Not finished.",
        mood_tags=[],
        status="draft",
    ),
    DemoMaster(
        artist="juno",
        title="Borrowed Sky",
        genre="Electronica",
        bpm=128,
        description="Built around a sample.",
        mood_tags=["bright"],
        status="rejected",
        reason="The sample in the second verse isn't cleared. Name its owner among the collaborators.",
    ),
    DemoMaster(
        artist="juno",
        title="Copper Wire",
        genre="Electronica",
        bpm=110,
        description="Field recordings of a substation.",
        mood_tags=["mechanical"],
        status="submitted",
    ),
    DemoMaster(
        artist="parade",
        title="Winter Coats",
        genre="Indie",
        bpm=86,
        description="A waltz for two coats on one hook.",
        mood_tags=["wistful", "slow"],
    ),
    DemoMaster(
        artist="parade",
        title="Rooms Without Doors",
        genre="Indie",
        bpm=118,
        description="Four songs about one house.",
        mood_tags=["wistful"],
        type="album",
        tracks=["Hallway", "Kitchen, Three A.M.", "The Locked One", "Attic"],
    ),
    DemoMaster(
        artist="juno",
        title="Second Sun",
        genre="Afro house",
        bpm=124,
        description="The longer sister of Red Earth.",
        mood_tags=["hypnotic"],
    ),
    DemoMaster(
        artist="juno",
        title="Red Earth",
        genre="Afro house",
        bpm=122,
        description="Recorded with a choir in an empty water tank.",
        mood_tags=["hypnotic", "bright"],
    ),
    DemoMaster(
        artist="mira",
        title="Paper Moons",
        genre="Dream pop",
        bpm=92,
        description="Two guitars, one take.",
        mood_tags=["dreamy"],
        producer="noor",
    ),
    DemoMaster(
        artist="mira",
        title="Harbor Lights",
        genre="Synthwave",
        bpm=104,
        description="Written on the last ferry.\nMixed at home, mastered on tape.",
        mood_tags=["nocturnal", "warm"],
        isrc="USDEM2600001",
        producer="noor",
    ),
)
"""The last one is offered, so that it can't be renamed."""


async def is_there(world: World) -> bool:
    last = MASTERS[-1]
    return await world.find_master(last.artist, last.title) is not None


async def make(world: World) -> None:
    from audifi.core.http_client import open_client  # noqa: PLC0415 - as in core/files

    await _wait_for_storage(world.services.files)
    async with open_client(timeout_seconds=30) as http:
        for master in MASTERS:
            await _make_master(world, master, http)
            world.say(f"“{master.title}” is {master.status}")


async def _wait_for_storage(files: FileStore) -> None:
    """Wait until a storage that starts beside the demo answers.

    Raises:
        DemoError: it doesn't answer in time.
    """
    deadline = time.monotonic() + STORAGE_SECONDS
    while True:
        try:
            return await files.check()
        except FileStoreError as error:
            if time.monotonic() > deadline:
                raise DemoError(f"The object storage isn't ready: {error}.") from error
        await asyncio.sleep(0.2)


async def _make_master(world: World, master: DemoMaster, http: "httpx2.AsyncClient") -> None:
    database, now = world.services.database, world.ago(days=DAYS_AGO)
    artist_id = await world.user(master.artist)
    collaborators = []
    if master.producer:
        producer_id = await world.user(master.producer)
        collaborators = [Collaborator(user_id=producer_id, name="Noor Haddad", role="Producer", split_bps=2000)]
    body = MasterCreate(
        type=master.type,
        title=master.title,
        description=master.description,
        genre=master.genre,
        bpm=master.bpm,
        release_date=date(now.year, now.month, 1),
        mood_tags=master.mood_tags,
        tracks=[
            Track(title=title, isrc=None if place else master.isrc, iswc=None)
            for place, title in enumerate(master.tracks or [master.title])
        ],
        collaborators=collaborators,
    )
    async with database.transaction() as tx:
        master_id = (await service.create(tx, artist_id=artist_id, body=body, now=now)).id
    await _upload(world, http, artist_id, master_id, "audio", "audio/wav", make_audio(master.title))
    await _upload(world, http, artist_id, master_id, "cover", "image/png", make_cover(master.title))
    if master.status == "draft":
        return
    await service.confirm_rights(
        database,
        artist_id=artist_id,
        master_id=master_id,
        statement_version=rights.VERSION,
        holder="owner",
        ip_prefix=None,
        now=now,
    )
    async with database.transaction() as tx:
        submitted = await states.submit(tx, artist_id=artist_id, master_id=master_id, is_reviewed=True, now=now)
        if master.status != "submitted":
            await states.review(
                tx,
                master_id=master_id,
                reason=master.reason,
                expected_version=submitted.version,
                by=Actor(name=OPERATOR),
                now=now,
            )


async def _upload(
    world: World,
    http: "httpx2.AsyncClient",
    artist_id: UUID,
    master_id: UUID,
    kind: UploadKind,
    content_type: str,
    content: bytes,
) -> None:
    """Send a file to the storage, and verify it as the job does.

    Raises:
        RuntimeError: the storage refuses the file.
    """
    services, now = world.services, world.ago(days=DAYS_AGO)
    body = UploadRequest.model_validate(
        {
            "kind": kind,
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "content_type": content_type,
        }
    )
    upload = await uploads.begin(
        services.database, services.files, artist_id=artist_id, master_id=master_id, body=body, now=now
    )
    (await http.put(upload.url, content=content, headers=upload.headers)).raise_for_status()
    ids = {"artist_id": artist_id, "master_id": master_id, "upload_id": upload.id}
    await uploads.complete(services.database, world.jobs, now=now, **ids)
    await uploads.verify(services.background_database, services.files, upload.id, make_file=temporary_file)


PART = Part(name="masters", is_there=is_there, make=make)
