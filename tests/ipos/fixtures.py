"""Rows and requests of offerings, for query plans and fuzzing."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2

from tests.ipos.offerings import post
from tests.support.clients import Client
from tests.support.feature import FeatureFixtures

ARTIST, BUYER = (UUID(f"01930b5a-7c1e-7d3f-8a52-6f0e4b9c2e{number}") for number in (10, 11))
ARTIST_ADDRESS, BUYER_ADDRESS = "ipo-artist@example.com", "ipo-buyer@example.com"
DRAFTED, SELLING, ENDING = (UUID(f"01930b5a-7c1e-7d3f-8a52-6f0e4b9c2f{number}") for number in (10, 11, 12))
"""Masters: without an offering, with a live one, and with another that is ended early."""

IPO = """
INSERT INTO ipos (id, master_id, artist_id, status, currency, total_shares, retained_shares, offered, unit_price,
        max_per_account, min_shares, holders_bps, platform_bps, sale_fee_bps, resale_fee_bps, royalty,
        royalty_to_holders_bps, lockup_days, reflection_hours, opens_at, ends_at, terms_sha256, created_at,
        launched_at)
    SELECT gen_random_uuid(), id, artist_id, {status}, 'USD', 1000, 0, 1000, 1, 1000, 0, 5000, 1000, 500, 0,
        '{{"artist_bps":1000,"minter_bps":[],"mode":"first_minters"}}', 0, 0, {reflection_hours},
        now() - interval '1 day', now() + interval '9 days', sha256(''), created_at, created_at
    FROM masters WHERE {condition};
"""
ROWS = f"""
INSERT INTO users (id, email, email_key, role, created_at)
    VALUES ('{ARTIST}', '{ARTIST_ADDRESS}', '{ARTIST_ADDRESS}', 'admin', now()),
        ('{BUYER}', '{BUYER_ADDRESS}', '{BUYER_ADDRESS}', 'fan', now());
SELECT ledger_post_v1(gen_random_uuid(), 'ipo buyer', 'adjustment',
    ARRAY['user/{BUYER}/available/USD/0', 'provider//external/USD/*'], ARRAY[100000, -100000], now());
INSERT INTO masters (id, artist_id, type, title, description, genre, release_date, mood_tags, status,
        rights_confirmed_at, audio_sha256, cover_sha256, version, created_at)
    SELECT id::uuid, '{ARTIST}', 'track', 'Night drive', 'A', 'B', '2026-01-31', '{{}}',
        CASE id WHEN '{DRAFTED}' THEN 'approved' ELSE 'offered' END, now(), sha256(''), sha256(''), 1, now()
    FROM unnest(ARRAY['{DRAFTED}', '{SELLING}', '{ENDING}']) AS id;
INSERT INTO masters (id, artist_id, type, title, description, genre, release_date, mood_tags, status, version,
        created_at)
    SELECT gen_random_uuid(), id, 'track', 'Sold out', 'A', 'B', '2026-01-31', '{{}}', 'draft', 1,
        now() - random() * interval '1 year'
    FROM users, generate_series(1, 2) LIMIT 6000;
{IPO.format(status="'live'", reflection_hours=1, condition=f"id = '{SELLING}'")}
{IPO.format(status="'live'", reflection_hours=0, condition=f"id = '{ENDING}'")}
{IPO.format(status="'completed'", reflection_hours=0, condition="status = 'draft'")}
INSERT INTO ledger_assets (code, kind, scale) SELECT 'share:' || id, 'share', 0 FROM ipos;
SELECT count(ledger_post_v1(gen_random_uuid(), 'launch ' || id, 'ipo_launch', ARRAY[
        format('ipo/%s/issuance/share:%s/0', id, id), format('ipo/%s/offering/share:%s/0', id, id)
    ], ARRAY[-1000, 1000], now())) FROM ipos WHERE status = 'live';
INSERT INTO ipo_buyers (ipo_id, user_id, bought, cap, ordinal)
    SELECT ipos.id, users.id, 1, 1, row_number() OVER (PARTITION BY ipos.id)
    FROM (SELECT id FROM ipos WHERE status = 'completed' LIMIT 200) AS ipos,
        (SELECT id FROM users LIMIT 50) AS users;
INSERT INTO ipo_allowlist (ipo_id, user_id) SELECT ipo_id, user_id FROM ipo_buyers;
INSERT INTO ipo_purchases (id, ipo_id, user_id, quantity, unit_price, total, serials, terms_sha256, transfer_id,
        status, created_at)
    SELECT gen_random_uuid(), ipo_id, user_id, 1, 1, 1, int8range(1, 2), sha256(''), t.id, 'settled', now()
    FROM ipo_buyers, (SELECT id FROM ledger_transfers LIMIT 1) AS t;
INSERT INTO ipo_reservations (id, ipo_id, user_id, quantity, status, expires_at, created_at)
    SELECT gen_random_uuid(), ipo_id, user_id, 1, CASE WHEN random() < 0.02 THEN 'open' ELSE 'used' END,
        now() + random() * interval '1 day', now()
    FROM ipo_buyers;
INSERT INTO ipo_proceeds (ipo_id, user_id, amount, release_at, released_at)
    SELECT id, artist_id, 1, now() + interval '1 day', CASE WHEN random() < 0.98 THEN now() END FROM ipos
    WHERE status = 'completed';
INSERT INTO share_lots (id, ipo_id, serials, account_id, custody, acquired_at, transferable_at)
    SELECT gen_random_uuid(), i.id, int8range(i.number * 1048576 + n, i.number * 1048576 + n + 1), a.id, 'ledger',
        now(), now()
    FROM ipos AS i
    CROSS JOIN generate_series(1, 5) AS n
    JOIN (SELECT id, row_number() OVER () AS place FROM ledger_accounts WHERE owner_kind = 'user') AS a
        ON a.place = i.number % 4000 + n + 1
    WHERE i.status = 'completed' AND i.number < 4000;
INSERT INTO share_movements (id, ipo_id, transfer_id, serials, from_id, to_id, reason, price, at)
    SELECT gen_random_uuid(), ipo_id, t.id, serials, account_id, account_id, 'sale', 1, now()
    FROM share_lots, (SELECT id FROM ledger_transfers LIMIT 1) AS t;
INSERT INTO holder_profiles (user_id, is_public) SELECT id, true FROM users LIMIT 3000;
"""
BACKGROUND = (
    "SELECT ipo_reservations.id FROM ipo_reservations",  # every half a minute
    "SELECT ipo_proceeds.ipo_id",
    "SELECT ipos.id FROM ipos",
)


def use(client: Client) -> None:
    """Call each operation once, as an artist with the role of an admin, and as a buyer."""
    artist = Client(client.http, client.sendgrid, email=ARTIST_ADDRESS).sign_in()
    buyer = Client(client.http, client.sendgrid, email=BUYER_ADDRESS).sign_in()
    path, selling = f"/masters/{DRAFTED}/ipo", f"/masters/{SELLING}/ipo"
    _draft(artist, path)
    artist.as_signed_in("PATCH", path, _terms(), headers={"If-Match": '"1"'})
    artist.as_signed_in("PUT", f"{path}/allowlist", {"entries": [{"user_id": str(BUYER)}]})
    for step in ("launch", "unlaunch", "launch"):
        assert post(artist, f"{path}/{step}").is_success, step
    for paused in (True, False):
        artist.as_signed_in("POST", f"{path}/pause", {"paused": paused})
    assert post(artist, f"{path}/cancel").is_success
    artist.as_signed_in("GET", path)
    buyer.as_signed_in("GET", f"{selling}/mint-preview")
    reservation = post(buyer, f"{selling}/reservations", {"quantity": 1}).json()["id"]
    bought = _buy(buyer, SELLING, reservation_id=reservation)
    assert post(buyer, f"{selling}/purchases/{bought.json()['purchase_id']}/withdraw").is_success
    unused = post(buyer, f"{selling}/reservations", {"quantity": 1}).json()["id"]
    assert buyer.as_signed_in("DELETE", f"{selling}/reservations/{unused}").is_success
    _buy(buyer, SELLING)
    _buy(buyer, ENDING)
    assert post(artist, f"/masters/{ENDING}/ipo/complete").is_success
    buyer.as_signed_in("PUT", "/masters/holdings/visibility", {"is_public": True})
    for pages in ("/masters/purchases", "/masters/holdings", f"/masters/{ENDING}/holders"):
        first = buyer.as_signed_in("GET", f"{pages}?limit=1").json()
        assert buyer.as_signed_in("GET", f"{pages}?limit=1&cursor={first['next_cursor']}").is_success
    assert buyer.as_signed_in("GET", f"/masters/{ENDING}/shares/1").is_success
    for filters in ("limit=1", "limit=1&status=completed", "limit=1&status=completed&genre=B"):
        first = client.ask("GET", f"/offerings?{filters}").json()
        if first["next_cursor"]:
            assert client.ask("GET", f"/offerings?{filters}&cursor={first['next_cursor']}").is_success


def _terms() -> dict[str, Any]:
    opens_at = datetime.now(UTC) + timedelta(hours=1)
    return {
        "currency": "USD",
        "total_shares": 1000,
        "retained_shares": 10,
        "unit_price": 1,
        "max_per_account": 10,
        "opens_at": opens_at.isoformat(),
        "ends_at": (opens_at + timedelta(days=1)).isoformat(),
    }


def _draft(client: Client, path: str) -> None:
    assert post(client, path, _terms()).is_success


def _buy(buyer: Client, master_id: UUID, **body: Any) -> httpx2.Response:
    answer = post(buyer, f"/masters/{master_id}/ipo/mint", {"quantity": 1, "expected_total": 1} | body)
    assert answer.is_success, answer.text
    return answer


def ids(_client: Client) -> dict[str, Any]:
    """Return path parameters: the masters' fixtures give their ids."""
    return {}


FIXTURES = FeatureFixtures(rows=ROWS, use=use, ids=ids, background=BACKGROUND)
