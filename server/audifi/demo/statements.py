"""A distributor's report, sent to the storage and imported as the job does."""

import hashlib
from datetime import date, datetime, timedelta
from functools import partial
from uuid import UUID

from uuid6 import uuid7

from audifi.auth.session_checks import CheckedUser
from audifi.core.files.download import temporary_file
from audifi.demo.ipos import SOLD_OUT
from audifi.demo.masters import MASTERS
from audifi.demo.world import DOMAIN, World
from audifi.royalties import statements
from audifi.royalties.importing import Importer
from audifi.royalties.jobs import import_database
from audifi.royalties.measures import LINES
from audifi.royalties.schemas import StatementUpload

STORES = ("Spotify", "Apple Music", "Deezer", "YouTube Music")
COUNTRIES = ("US", "DE", "BR")
COLUMNS = (
    "Reporting Date\tSale Month\tStore\tArtist\tTitle\tISRC\tUPC\tQuantity\tTeam Percentage\tSong/Album"
    "\tCountry of Sale\tSongwriter Royalties Withheld\tEarnings (USD)\n"
)


def write_statement(reported: date, *, unknown: int = 0) -> bytes:
    """Return a DistroKid report of the month before last: sales, a return, and sales of so many unknown recordings."""
    month = (reported.replace(day=1) - timedelta(days=32)).replace(day=1)
    isrc = next(master.isrc for master in MASTERS if master.title == SOLD_OUT.title)
    places = [(store, country) for store in STORES for country in COUNTRIES]
    lines = [(*place, isrc, 4000 - 271 * n, f"{14 - n}.{n + 3}17043") for n, place in enumerate(places)]
    lines.append((*places[0], isrc, -12, "-0.043212"))
    lines += [(*places[n], f"USDEM25{n:05}", 31 + n, f"0.{n + 1}07") for n in range(unknown)]
    return (
        COLUMNS
        + "".join(
            f"{reported}\t{month:%Y-%m}\t{store}\tMira Solano\t{SOLD_OUT.title}\t{isrc}\t\t{quantity}\t100\tSong"
            f"\t{country}\t0\t{earnings}\n"
            for store, country, isrc, quantity, earnings in lines
        )
    ).encode()


async def import_statement(world: World, artist_id: UUID, content: bytes, *, now: datetime) -> UUID:
    """Upload and import a statement of an artist; return its id."""
    from audifi.core.http_client import open_client  # noqa: PLC0415 - as in core/files

    services = world.services
    artist = CheckedUser(
        id=artist_id,
        email=f"{SOLD_OUT.artist}@{DOMAIN}",
        email_key=f"{SOLD_OUT.artist}@{DOMAIN}",
        display_name=None,
        role="fan",
        created_at=now,
        session_id=uuid7(),
        auth_time=now,
    )
    body = StatementUpload(
        preset="distrokid", format="tsv", size=len(content), sha256=hashlib.sha256(content).hexdigest()
    )
    begun = await statements.begin(services.database, services.files, user=artist, body=body, now=now)
    async with open_client(timeout_seconds=30) as http:
        (await http.put(begun.url, content=content, headers=begun.headers)).raise_for_status()
    await statements.complete(services.database, world.jobs, user=artist, statement_id=begun.id, now=now)
    importer = Importer(
        database=services.background_database,
        connect=partial(import_database, services.settings),
        files=services.files,
        make_file=temporary_file,
        currencies=services.settings.currencies,
        clock=lambda: now,
        on_lines=lambda status, count: services.metrics.count(LINES, status, by=count),
    )
    await importer.run(begun.id)
    return begun.id
