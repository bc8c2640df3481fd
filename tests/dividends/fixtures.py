"""Rows and requests of dividends, for query plans and fuzzing."""

from typing import Any
from uuid import UUID, uuid4

from tests.support.clients import Client
from tests.support.feature import FeatureFixtures

ARTIST, HOLDER = (UUID(f"01930b5a-7c1e-7d3f-8a52-6f0e4b9c2e{number}") for number in (20, 21))
ARTIST_ADDRESS, HOLDER_ADDRESS = "dividend-artist@example.com", "dividend-holder@example.com"
MASTER, IPO, POOL = (UUID(f"01930b5a-7c1e-7d3f-8a52-6f0e4b9c2f{number}") for number in (20, 21, 22))
DUE, DUE_EVENT = (UUID(f"01930b5a-7c1e-7d3f-8a52-6f0e4b9c2f{number}") for number in (23, 24))

ROWS = f"""
INSERT INTO users (id, email, email_key, role, created_at)
    VALUES ('{ARTIST}', '{ARTIST_ADDRESS}', '{ARTIST_ADDRESS}', 'admin', now()),
        ('{HOLDER}', '{HOLDER_ADDRESS}', '{HOLDER_ADDRESS}', 'fan', now());
INSERT INTO masters (id, artist_id, type, title, description, genre, release_date, mood_tags, status,
        rights_confirmed_at, audio_sha256, cover_sha256, version, created_at)
    VALUES ('{MASTER}', '{ARTIST}', 'track', 'Night drive', 'A', 'B', '2026-01-31', '{{}}', 'offered', now(),
        sha256(''), sha256(''), 1, now());
INSERT INTO ipos (id, master_id, artist_id, status, currency, total_shares, retained_shares, offered, unit_price,
        max_per_account, min_shares, holders_bps, platform_bps, sale_fee_bps, resale_fee_bps, royalty,
        royalty_to_holders_bps, lockup_days, reflection_hours, opens_at, ends_at, terms_sha256, created_at)
    VALUES ('{IPO}', '{MASTER}', '{ARTIST}', 'completed', 'USD', 10, 0, 10, 1, 10, 0, 5000, 1000, 500, 0, '{{}}', 0, 0,
        0, now() - interval '2 days', now() - interval '1 day', sha256(''), now());
INSERT INTO ledger_assets (code, kind, scale) VALUES ('share:{IPO}', 'share', 0);
SELECT ledger_post_v2(gen_random_uuid(), 'dividend shares', 'sale',
    ARRAY['ipo/{IPO}/issuance/share:{IPO}/0', 'user/{HOLDER}/shares/share:{IPO}/0'], ARRAY[-10, 10], now());
INSERT INTO ledger_pools (id, share_asset_id, currency_asset_id, units)
    SELECT '{POOL}', share.id, usd.id, 10 FROM ledger_assets AS share, ledger_assets AS usd
    WHERE share.code = 'share:{IPO}' AND usd.code = 'USD';
INSERT INTO dividend_pools (pool_id, ipo_id, currency) VALUES ('{POOL}', '{IPO}', 'USD');
SELECT ledger_post_v2(gen_random_uuid(), 'dividend money ' || n, 'distribution',
        ARRAY['pool/{POOL}/pool/USD/*', 'provider//external/USD/*'], ARRAY[1000, -1000], now())
    FROM generate_series(1, 16) AS n;
-- One distribution is due: the job posts it.
SELECT ledger_post_v2(gen_random_uuid(), 'dividend revenue', 'revenue_funding',
    ARRAY['ipo/{IPO}/revenue/USD/0', 'provider//external/USD/*'], ARRAY[100, -100], now());
INSERT INTO distributions (id, ipo_id, pool_id, currency, gross, platform, artist, holders, status, declared_by,
        declared_at, record_at)
    VALUES ('{DUE}', '{IPO}', '{POOL}', 'USD', 100, 10, 40, 50, 'declared', '{ARTIST}', now(), now());
INSERT INTO revenue_events (id, ipo_id, source, amount, currency, period_start, period_end, provider, external_ref,
        status, funded_from, distribution_id, created_at)
    VALUES ('{DUE_EVENT}', '{IPO}', 'sale', 100, 'USD', '2026-03-01', '2026-03-31', 'A', 'due', 'funded', 'receipt',
        '{DUE}', now());
-- Many others, each of which has its pool.
INSERT INTO ledger_pools (id, share_asset_id, currency_asset_id, units)
    SELECT gen_random_uuid(), share.id, usd.id, 1000 FROM ledger_assets AS usd, ledger_assets AS share
        JOIN ipos ON share.code = 'share:' || ipos.id
    WHERE usd.code = 'USD' AND share.code <> 'share:{IPO}' LIMIT 3000;
INSERT INTO dividend_pools (pool_id, ipo_id, currency)
    SELECT pool.id, substr(share.code, 7)::uuid, 'USD'
    FROM ledger_pools AS pool JOIN ledger_assets AS share ON share.id = pool.share_asset_id WHERE pool.id <> '{POOL}';
INSERT INTO distributions (id, ipo_id, pool_id, currency, gross, platform, artist, holders, status, declared_by,
        declared_at, record_at)
    SELECT gen_random_uuid(), ipo_id, pool_id, 'USD', 1, 0, 0, 1,
        CASE WHEN n = 1 AND random() < 0.02 THEN 'declared' ELSE 'canceled' END, '{ARTIST}', now(),
        now() + random() * interval '1 day' + interval '1 day'
    FROM dividend_pools, generate_series(1, 3) AS n WHERE pool_id <> '{POOL}';
INSERT INTO revenue_events (id, ipo_id, source, amount, currency, period_start, period_end, provider, external_ref,
        status, funded_from, distribution_id, created_at)
    SELECT gen_random_uuid(), ipo_id, 'sale', 1, 'USD', '2026-03-01', '2026-03-31', 'A', id::text,
        CASE WHEN random() < 0.02 THEN 'funded' ELSE 'distributed' END, 'receipt', id, now()
    FROM distributions WHERE ipo_id <> '{IPO}';
UPDATE revenue_events SET distribution_id = NULL WHERE status = 'funded' AND ipo_id <> '{IPO}';
INSERT INTO dividend_claims (transfer_id, user_id, pool_id, amount, withheld, created_at)
    SELECT transfers.id, users.id, pools.id, 1, 0, now() - random() * interval '1 year'
    FROM (SELECT id, row_number() OVER () AS n FROM ledger_transfers LIMIT 10000) AS transfers
        JOIN (SELECT id, row_number() OVER () AS n FROM users LIMIT 2000) AS users ON users.n = transfers.n % 2000 + 1
        JOIN (SELECT id, row_number() OVER () AS n FROM ledger_pools) AS pools ON pools.n = transfers.n % 3000 + 1;
"""
BACKGROUND = (
    "SELECT distributions.id FROM distributions",  # every 10 s
    "UPDATE distributions SET status = 'posted'",
    "UPDATE revenue_events SET status",
)


def use(client: Client) -> None:
    """Call each operation once, as an artist with the role of an admin, and as a holder."""
    artist = Client(client.http, client.sendgrid, email=ARTIST_ADDRESS).sign_in()
    holder = Client(client.http, client.sendgrid, email=HOLDER_ADDRESS).sign_in()

    def send(path: str, body: Any = None, sender: Client = artist) -> Any:
        answer = sender.as_signed_in("POST", f"/dividends/{path}", body, headers={"Idempotency-Key": str(uuid4())})
        assert answer.is_success, answer.text
        return answer.json()

    send("revenue", _revenue("waits"))
    event_id = send("revenue", _revenue("paid"))["id"]
    send(f"revenue/{event_id}/process", {"receipt": {"reference": "BANK-1", "reason": "line 42"}})
    send(f"revenue/{send('revenue', _revenue('wrong'))['id']}/void")
    for path in (f"revenue/{MASTER}", f"revenue/{MASTER}?status=recorded", "history", "claimable"):
        asking = artist if path.startswith("revenue") else holder
        first = asking.as_signed_in("GET", f"/dividends/{path}{'&' if '?' in path else '?'}limit=1").json()
        asking.as_signed_in("GET", f"/dividends/{path}", params={"limit": 1, "cursor": first["next_cursor"]})
    for path in (f"revenue/{MASTER}/summary", "artist-summary"):
        artist.as_signed_in("GET", f"/dividends/{path}")
    send("claim", {}, holder)
    for path in ("summary", f"contract/{MASTER}", "statements/2026.csv", "history"):
        assert holder.as_signed_in("GET", f"/dividends/{path}").is_success


def _revenue(reference: str) -> dict[str, Any]:
    return {
        "master_id": str(MASTER),
        "source": "streaming",
        "amount": 1000,
        "currency": "USD",
        "period_start": "2026-03-01",
        "period_end": "2026-03-31",
        "provider": "DistroKid",
        "external_ref": reference,
    }


def ids(_client: Client) -> dict[str, Any]:
    """Return path parameters: nothing that a client alone can do makes an offering that is completed."""
    return {"year": 2026}


FIXTURES = FeatureFixtures(rows=ROWS, use=use, ids=ids, background=BACKGROUND)
