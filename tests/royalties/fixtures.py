"""Rows and requests of royalty statements, for query plans and fuzzing."""

import hashlib
from typing import Any
from uuid import uuid4

from tests.ipos.fixtures import SELLING
from tests.masters.sending import storage_request
from tests.royalties.statements import distrokid, sale, unique
from tests.support.clients import Client
from tests.support.feature import FeatureFixtures
from tests.support.waiting import wait_until

ISRC = "USAA29999999"
PATH = "/dividends/statements"

ROWS = f"""
UPDATE master_tracks SET isrc = '{ISRC}', offered = true WHERE master_id = '{SELLING}';
INSERT INTO royalty_statements (id, user_id, of_all_artists, preset, format, provider, status, failure, size, sha256,
        lines, last_line, deleted_to, expires_at, lines_expire_at, created_at, imported_at)
    SELECT gen_random_uuid(), id, false, 'distrokid', 'tsv', 'distrokid', state,
        CASE state WHEN 'failed' THEN 'statement.empty' END, 1, sha256(id::text::bytea), 20, 21,
        CASE WHEN random() < 0.02 THEN 0 ELSE 21 END, began, began + interval '299 days', began,
        CASE state WHEN 'imported' THEN began END
    FROM (
        SELECT id, now() - random() * interval '300 days' AS began,
            CASE WHEN random() < 0.02 THEN 'failed' WHEN random() < 0.001 THEN 'pending' ELSE 'imported' END AS state
        FROM users LIMIT 10000
    ) AS u;
INSERT INTO royalty_lines (statement_id, number, status, master_id, key, reporting_date, sale_month, amount, currency)
    SELECT s.id, n, CASE WHEN n > 4 THEN 'matched' ELSE 'unmatched' END, CASE WHEN n > 4 THEN m.id END,
        (random() * 1e15)::bigint, '2026-01-01', '2026-01-01', 1, 'USD'
    FROM (SELECT id FROM royalty_statements LIMIT 2000) AS s, generate_series(2, 21) AS n,
        (SELECT id FROM masters LIMIT 1) AS m;
INSERT INTO royalty_totals (id, statement_id, master_id, currency, lines, amount, carried_in, recorded, carried_out,
        period_start, period_end, created_at)
    SELECT gen_random_uuid(), s.id, m.id, 'USD', 1, 0, 0, 0, 0, '2026-01-01', '2026-01-31', now()
    FROM royalty_statements AS s, (SELECT id FROM masters LIMIT 1) AS m WHERE s.status = 'imported';
INSERT INTO royalty_carries (master_id, provider, currency, amount)
    SELECT id, 'distrokid', 'USD', 0 FROM masters LIMIT 5000;
UPDATE masters SET upc = lpad(n::text, 13, '0')
    FROM (SELECT id, row_number() OVER () AS n FROM masters) AS numbered WHERE numbered.id = masters.id;
"""
BACKGROUND = (
    "UPDATE royalty_statements SET bytes_read",  # the job that imports a file
    "INSERT INTO royalty_totals",
    "SELECT royalty_statements.id FROM royalty_statements WHERE royalty_statements.status IN",  # retention
    "DELETE FROM royalty_lines",
    "DELETE FROM royalty_statements",
)


def use(client: Client) -> None:
    """Call each operation once, as an admin who imports for all artists."""
    upc = sale("", UPC="036000291452")
    first = _upload(client, distrokid(sale(ISRC), sale("USAA28888888"), upc))
    assert client.as_signed_in("GET", f"{PATH}/{first}").json()["status"] == "imported"
    assert client.as_signed_in("POST", f"{PATH}/{first}/match", {"master_id": str(SELLING), "numbers": [3]}).is_success
    for path in (f"{PATH}?limit=1", *(f"{PATH}/{first}/{rest}" for rest in ("lines?limit=1", "totals?limit=1"))):
        for filtered in (path, f"{path}&status=unmatched") if "lines" in path else (path,):
            page = client.as_signed_in("GET", filtered).json()
            assert page["data"], filtered
            client.as_signed_in("GET", f"{filtered}&cursor={page['next_cursor']}")
    for decision in ("import", "discard"):
        again = _upload(client, unique(distrokid(*[sale(ISRC)] * 51_000)))
        assert client.as_signed_in("POST", f"{PATH}/{again}/confirm", {"decision": decision}).is_success


def _upload(client: Client, content: bytes) -> str:
    """Upload a file; return the statement's id when its import has ended."""
    body = {
        "preset": "distrokid",
        "format": "tsv",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    begun = client.as_signed_in("POST", PATH, body, headers={"Idempotency-Key": str(uuid4())}).json()
    storage_request("PUT", begun["url"], content=content, headers=begun["headers"])
    path = f"{PATH}/{begun['id']}"
    assert client.as_signed_in("POST", f"{path}/complete").is_success
    wait_until(lambda: client.as_signed_in("GET", path).json()["status"] != "parsing")
    return str(begun["id"])


def ids(_client: Client) -> dict[str, Any]:
    """Return path parameters: an account without an offered master can't have a statement."""
    return {}


FIXTURES = FeatureFixtures(rows=ROWS, use=use, ids=ids, background=BACKGROUND)
