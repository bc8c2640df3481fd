"""The largest statement, imported by a real server: its memory, and what other requests notice."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

import httpx2
import psutil
import pytest

from audifi.royalties.limits import MAX_BYTES
from audifi.royalties.lines import MAX_LINES
from tests.masters.sending import storage_request
from tests.royalties.statements import DISTROKID, SALE, sale, table
from tests.support import databases
from tests.support.api import Api
from tests.support.clients import Client, asking
from tests.support.sendgrid import SendGrid
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

MASTERS = 500
MAX_GROWTH_BYTES = 200_000_000

# Masters with live offerings, which nobody bought of.
OFFER = """
WITH artist AS (SELECT id FROM users WHERE email_key = '{email}'), offered AS (
    INSERT INTO masters (id, artist_id, type, title, description, genre, release_date, mood_tags, status,
            rights_confirmed_at, audio_sha256, cover_sha256, version, created_at)
        SELECT gen_random_uuid(), artist.id, 'track', 'A', 'A', 'A', '2026-01-31', '{{}}', 'offered', now(),
            sha256(''), sha256(''), 1, now()
        FROM artist, generate_series(1, {masters}) RETURNING id, artist_id
), tracks AS (
    INSERT INTO master_tracks (master_id, position, title, isrc, offered)
        SELECT id, 1, 'A', 'USAA3' || lpad((row_number() OVER ())::text, 7, '0'), true FROM offered
)
INSERT INTO ipos (id, master_id, artist_id, status, currency, total_shares, retained_shares, offered, unit_price,
        max_per_account, min_shares, holders_bps, platform_bps, sale_fee_bps, resale_fee_bps, royalty,
        royalty_to_holders_bps, lockup_days, reflection_hours, opens_at, ends_at, terms_sha256, created_at)
    SELECT gen_random_uuid(), id, artist_id, 'live', 'USD', 1000, 0, 1000, 1, 1000, 0, 5000, 1000, 500, 0,
        '{{"artist_bps":1000,"minter_bps":[],"mode":"first_minters"}}', 0, 0, 0, now(), now() + interval '9 days',
        sha256(''), now()
    FROM offered
"""


def largest_file() -> bytes:
    """Return a file of a million lines in which each of 500 masters has 2,000 sales of different keys."""
    row = SALE | sale("ISRC", "AMOUNT", Store="Store", Artist="A", Title="Midnight Drive", UPC="036000291452")
    row |= {"Quantity": "7", "Songwriter Royalties Withheld": "0", "Country of Sale": "US", "Team Percentage": "100"}
    header, line = table(DISTROKID, [row]).decode().splitlines(keepends=True)
    pattern = line.replace("ISRC", "USAA3{:07}").replace("AMOUNT", "0.00{:04}").replace("Store", "S{}")
    lines = (pattern.format(n // MASTERS, n % MASTERS + 1, n % 9999) for n in range(MAX_LINES))
    return (header + "".join(lines)).encode()


@contextmanager
def measured(api: Api) -> Iterator[Callable[[], tuple[int, float]]]:
    """Yield a function that returns the server's largest memory, and the slowest answer to a health check."""
    process, ended = psutil.Process(api.process.pid), threading.Event()
    memory, slowest = [0], [0.0]

    def watch() -> None:
        with httpx2.Client() as http:
            while not ended.wait(0.05):
                started = time.perf_counter()
                http.get(f"{api.url}/api/v1/health", timeout=30)
                slowest[0] = max(slowest[0], time.perf_counter() - started)
                memory[0] = max(memory[0], process.memory_info().rss)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: (memory[0], slowest[0])
    finally:
        ended.set()
        thread.join()


@pytest.mark.timeout(900)
def test_million_lines_are_imported_in_little_memory(
    start_api: Callable[..., Api], migrated_database_url: str, sendgrid: SendGrid, storage: Mapping[str, str]
) -> None:
    url = migrated_database_url
    variables = {"SENDGRID_API_KEY": "SG.key", "SENDGRID_API_URL": sendgrid.url, "TRUSTED_PROXIES": "127.0.0.0/8"}
    api = start_api(url, **variables, **storage)
    content = largest_file()
    assert MAX_BYTES * 0.8 < len(content) <= MAX_BYTES
    body = {"preset": "distrokid", "format": "tsv", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    with asking(api.url) as http:
        artist = Client(http, sendgrid).sign_in()
        databases.execute(url, OFFER.format(email=artist.email, masters=MASTERS))
        begun = artist.as_signed_in("POST", "/dividends/statements", body).json()
        sent = storage_request("PUT", begun["url"], content=content, headers=begun["headers"])
        assert sent.status_code == 200, sent.text
        before, started = psutil.Process(api.process.pid).memory_info().rss, time.perf_counter()
        cpu_before = psutil.Process(api.process.pid).cpu_times().user
        progress = set()
        with measured(api) as figures:
            artist.as_signed_in("POST", f"/dividends/statements/{begun['id']}/complete")

            def has_ended() -> bool:
                statement = databases.fetch_value(
                    url, "SELECT (status, bytes_read) FROM royalty_statements WHERE id = $1", UUID(begun["id"])
                )
                assert isinstance(statement, tuple)
                progress.add(statement[1])
                return bool(statement[0] != "parsing")

            wait_until(has_ended, seconds=600)
            seconds, (memory, slowest) = time.perf_counter() - started, figures()
        statement = artist.as_signed_in("GET", f"/dividends/statements/{begun['id']}").json()

    cpu = psutil.Process(api.process.pid).cpu_times().user
    print(  # noqa: T201 - with `-s`, the figures
        f"\n{seconds:.1f} s, of them {cpu - cpu_before:.1f} s of CPU in the server; memory {before >> 20} to "
        f"{memory >> 20} MiB; slowest health check {slowest:.3f} s"
    )
    assert (statement["status"], statement["lines"], statement["unmatched_lines"]) == ("imported", MAX_LINES, 0)
    assert databases.fetch_value(url, "SELECT count(*) FROM revenue_events") == MASTERS
    assert len(progress) > 2
    assert memory - before < MAX_GROWTH_BYTES
