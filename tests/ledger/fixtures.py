"""Rows and requests of the ledger, for query plans and fuzzing."""

from typing import Any
from uuid import UUID, uuid4

from tests.support.clients import Client
from tests.support.feature import FeatureFixtures

ADMIN = UUID("01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d17")
ADDRESS = "ledger-admin@example.com"
TO_REVERSE = UUID("01930b5a-7c1e-7d3f-8a52-6f0e4b9c2d18")

ROWS = f"""
INSERT INTO users (id, email, email_key, role, created_at) VALUES ('{ADMIN}', '{ADDRESS}', '{ADDRESS}', 'admin', now());
INSERT INTO ledger_assets (code, kind, scale) SELECT 'share:' || n, 'share', 0 FROM generate_series(1, 5000) AS n;
SELECT count(ledger_post_v1(gen_random_uuid(), id::text, 'adjustment',
        ARRAY['user/' || id || '/available/USD/0', 'provider//external/USD/*'], ARRAY[2500, -2500],
        now() - random() * interval '1 year'))
    FROM (SELECT id FROM users LIMIT 5000) AS users;
SELECT count(ledger_post_v1(gen_random_uuid(), 'shares ' || id, 'sale',
        ARRAY['ipo//issuance/' || code || '/0', 'user/' || gen_random_uuid() || '/shares/' || code || '/0'],
        ARRAY[-10, 10], now()))
    FROM ledger_assets WHERE kind = 'share';
SELECT ledger_post_v1('{TO_REVERSE}', 'admin', 'adjustment',
    ARRAY['user/{ADMIN}/available/USD/0', 'provider//external/USD/*'], ARRAY[1, -1], now());
SELECT count(ledger_post_v1(gen_random_uuid(), 'admin ' || n, 'adjustment',
        ARRAY['user/{ADMIN}/available/USD/0', 'provider//external/USD/*'], ARRAY[n, -n], now()))
    FROM generate_series(1, 50) AS n;
INSERT INTO ledger_holds (id, account_id, amount, key, purpose, expires_at, created_at)
    SELECT gen_random_uuid(), id, 1, id || ' ' || n, 'payout', now() + (random() - 0.01) * interval '1 day', now()
    FROM ledger_accounts, generate_series(1, 4) AS n WHERE purpose = 'available';
UPDATE ledger_holds SET status = 'voided' WHERE random() < 0.99;
"""


def use(client: Client) -> None:
    """Call each operation once, as an admin."""
    admin = Client(client.http, client.sendgrid, email=ADDRESS).sign_in()
    [account] = admin.as_signed_in("GET", "/ledger/accounts?limit=1").json()["data"]
    admin.as_signed_in("GET", "/ledger/accounts?purpose=available")
    path, period = f"/ledger/accounts/{account['id']}/entries", "from=2026-01-01T00:00:00Z&to=2026-12-31T00:00:00Z"
    first = admin.as_signed_in("GET", f"{path}?limit=1").json()
    admin.as_signed_in("GET", f"{path}?limit=1&cursor={first['next_cursor']}")
    admin.as_signed_in("GET", f"{path}?{period}")
    admin.as_signed_in("GET", f"{path}.csv?{period}")
    key = {"Idempotency-Key": str(uuid4())}
    admin.as_signed_in("POST", f"/ledger/transfers/{TO_REVERSE}/reverse", {"reason": "a mistake"}, headers=key)
    admin.as_signed_in("GET", "/ledger/proof")


def ids(_client: Client) -> dict[str, Any]:
    """Return path parameters: nothing that a client alone can do makes an account."""
    return {}


FIXTURES = FeatureFixtures(rows=ROWS, use=use, ids=ids)
