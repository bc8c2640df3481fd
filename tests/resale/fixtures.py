"""Rows and requests of resales, for query plans and fuzzing."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tests.ipos.fixtures import ARTIST, IPO
from tests.ipos.offerings import post
from tests.support.clients import Client
from tests.support.feature import FeatureFixtures

SELLER, BUYER = (UUID(f"01930b5a-7c1e-7d3f-8a52-6f0e4b9c2e{number}") for number in (12, 13))
SELLER_ADDRESS, BUYER_ADDRESS = "resale-seller@example.com", "resale-buyer@example.com"
MASTER = UUID("01930b5a-7c1e-7d3f-8a52-6f0e4b9c2f13")
"""A master whose offering is completed; the seller holds all shares."""

ROWS = f"""
INSERT INTO users (id, email, email_key, created_at)
    VALUES ('{SELLER}', '{SELLER_ADDRESS}', '{SELLER_ADDRESS}', now()),
        ('{BUYER}', '{BUYER_ADDRESS}', '{BUYER_ADDRESS}', now());
SELECT count(ledger_post_v1(gen_random_uuid(), 'resale ' || id, 'adjustment',
        ARRAY[format('user/%s/available/USD/0', id), 'provider//external/USD/*'], ARRAY[100000, -100000], now()))
    FROM unnest(ARRAY['{SELLER}', '{BUYER}']) AS id;
INSERT INTO masters (id, artist_id, type, title, description, genre, release_date, mood_tags, status,
        rights_confirmed_at, audio_sha256, cover_sha256, version, created_at)
    VALUES ('{MASTER}', '{ARTIST}', 'track', 'Night drive', 'A', 'B', '2026-01-31', '{{}}', 'offered',
        now(), sha256(''), sha256(''), 1, now());
{IPO.format(status="'completed'", reflection_hours=0, condition=f"id = '{MASTER}'")}
UPDATE ipos SET minters = ARRAY['{SELLER}'::uuid],
        royalty = '{{"artist_bps":1000,"minter_bps":[500],"mode":"first_minters"}}'
    WHERE master_id = '{MASTER}';
INSERT INTO ledger_assets (code, kind, scale) SELECT 'share:' || id, 'share', 0 FROM ipos WHERE master_id = '{MASTER}';
SELECT ledger_post_v1(gen_random_uuid(), 'resale shares', 'ipo_launch', ARRAY[
        format('ipo/%s/issuance/share:%s/0', id, id), format('user/{SELLER}/shares/share:%s/0', id)
    ], ARRAY[-1000, 1000], now()) FROM ipos WHERE master_id = '{MASTER}';
INSERT INTO share_lots (id, ipo_id, serials, account_id, custody, acquired_at, transferable_at)
    SELECT gen_random_uuid(), id, int8range(number * 1048576 + 1, number * 1048576 + 1001),
        ledger_account_id_v1(format('user/{SELLER}/shares/share:%s/0', id)), 'ledger', now(), now()
    FROM ipos WHERE master_id = '{MASTER}';
INSERT INTO ledger_holds (id, account_id, amount, key, purpose, expires_at, created_at)
    SELECT gen_random_uuid(), ledger_account_id_v1('user/{SELLER}/available/USD/0'), 1, 'resale ' || n, 'listing',
        now() + interval '1 year', now() FROM generate_series(1, 8000) AS n;
UPDATE ledger_holds SET status = 'voided' WHERE key LIKE 'resale %';
INSERT INTO listings (id, ipo_id, seller_id, serials, quantity, unit_price, total, status, hold_id, expires_at,
        created_at, closed_at)
    SELECT gen_random_uuid(), lots.ipo_id, users.id, lots.serials, 1, 1, 1,
        CASE n % 2 WHEN 0 THEN 'open' ELSE 'canceled' END, holds.id, now() + random() * interval '60 days', now(),
        CASE n % 2 WHEN 1 THEN now() END
    FROM (SELECT *, row_number() OVER () AS n FROM share_lots WHERE upper(serials) = lower(serials) + 1) AS lots
        JOIN (SELECT id, row_number() OVER () AS n FROM ledger_holds WHERE key LIKE 'resale %') AS holds USING (n)
        JOIN (SELECT id, row_number() OVER () AS n FROM users) AS users USING (n);
"""
BACKGROUND = ("ORDER BY listings.expires_at",)  # every half a minute


def use(client: Client) -> None:
    """Call each operation once, as a seller and as a buyer."""
    seller = Client(client.http, client.sendgrid, email=SELLER_ADDRESS).sign_in()
    buyer = Client(client.http, client.sendgrid, email=BUYER_ADDRESS).sign_in()
    path = f"/masters/{MASTER}/listings"
    first, second = (_list(seller, path, serial) for serial in (1, 2))
    for sort in ("price", "-price", "created_at", "-created_at"):
        page = buyer.as_signed_in("GET", f"{path}?sort={sort}&limit=1").json()
        assert buyer.as_signed_in("GET", f"{path}?sort={sort}&limit=1&cursor={page['next_cursor']}").is_success
    assert buyer.as_signed_in("GET", f"/listings/{first}/preview").is_success
    assert post(buyer, f"/listings/{first}/buy", {"expected_total": 100}).is_success
    assert seller.as_signed_in("DELETE", f"/listings/{second}").is_success
    assert post(buyer, f"/listings/{_list(seller, path, 3)}/buy", {"expected_total": 100}).is_success
    for account, part in ((seller, "/listings?"), (seller, "/listings?status=sold&"), (buyer, "/listing-purchases?")):
        page = account.as_signed_in("GET", f"{part}limit=1").json()
        assert account.as_signed_in("GET", f"{part}limit=1&cursor={page['next_cursor']}").is_success
        assert account.as_signed_in("GET", f"/listings/{first}").is_success
    assert buyer.as_signed_in("GET", f"/masters/{MASTER}/mover-advantage").is_success
    assert buyer.as_signed_in("GET", "/masters/mover-advantage/config").is_success


def _list(seller: Client, path: str, serial: int) -> str:
    expires_at = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    listed = post(seller, path, {"serials": [serial, serial], "unit_price": 100, "expires_at": expires_at})
    assert listed.is_success, listed.text
    return str(listed.json()["id"])


def ids(_client: Client) -> dict[str, Any]:
    """Return path parameters: nothing that a client alone can do makes a listing."""
    return {}


FIXTURES = FeatureFixtures(rows=ROWS, use=use, ids=ids, background=BACKGROUND)
