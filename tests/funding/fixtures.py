"""Rows and requests of deposits and payouts, for query plans and fuzzing."""

from typing import Any
from uuid import UUID, uuid4

from tests.support.clients import Client
from tests.support.feature import FeatureFixtures

ADMIN = UUID("01930b5a-7c1e-7d3f-8a52-6f0e4b9c2e17")
ADDRESS = "funding-admin@example.com"

ROWS = f"""
INSERT INTO users (id, email, email_key, role, created_at) VALUES ('{ADMIN}', '{ADDRESS}', '{ADDRESS}', 'admin', now());
INSERT INTO deposits (id, user_id, provider, provider_ref, currency, amount, status, created_at)
    SELECT gen_random_uuid(), id, 'operator', 'row ' || id, 'USD', 2500, 'failed', now() FROM users LIMIT 5000;
INSERT INTO deposits (id, user_id, provider, provider_ref, currency, amount, status, created_at)
    SELECT gen_random_uuid(), '{ADMIN}', 'operator', 'admin ' || n, 'USD', 2500, 'failed', now()
    FROM generate_series(1, 2000) AS n;
INSERT INTO payout_accounts (user_id, provider_id, country, payouts_enabled, requirements_due, synced_at)
    VALUES ('{ADMIN}', 'acct_of_funding', 'DE', true, '{{}}', now());
SELECT ledger_post_v1(gen_random_uuid(), 'funding', 'adjustment',
    ARRAY['user/{ADMIN}/available/USD/0', 'provider//external/USD/*'], ARRAY[10000000, -10000000], now());
INSERT INTO ledger_holds (id, account_id, amount, key, purpose, expires_at, created_at)
    SELECT gen_random_uuid(), ledger_account_id_v1('user/{ADMIN}/available/USD/0'), 1000, 'funding ' || n, 'payout',
        now() + interval '1 year', now() FROM generate_series(1, 3000) AS n;
UPDATE ledger_holds SET status = 'voided' WHERE key LIKE 'funding %';
INSERT INTO payouts (id, user_id, provider, currency, amount, status, hold_id, created_at, ended_at)
    SELECT gen_random_uuid(), '{ADMIN}', 'operator', 'USD', 1000, 'canceled', id, now(), now()
    FROM ledger_holds WHERE key LIKE 'funding %';
"""


def use(client: Client) -> None:
    """Call each operation once, as an admin."""
    admin = Client(client.http, client.sendgrid, email=ADDRESS).sign_in()
    booking = {"user_id": str(ADMIN), "reference": "fixture", "reason": "a receipt", "amount": 2500, "currency": "USD"}

    def send(path: str, body: Any = None) -> Any:
        return admin.as_signed_in("POST", f"/ledger/{path}", body, headers={"Idempotency-Key": str(uuid4())}).json()

    send("deposits", booking)
    for _ in range(2):
        payout = send("payouts", {"amount": 1000, "currency": "USD"})
        send(f"payouts/{payout['id']}/cancel")
    for path in ("deposits", "payouts"):
        first = admin.as_signed_in("GET", f"/ledger/{path}?limit=1").json()
        admin.as_signed_in("GET", f"/ledger/{path}?limit=1&cursor={first['next_cursor']}")


def ids(_client: Client) -> dict[str, Any]:
    """Return path parameters: nothing that a client alone can do makes a payout."""
    return {}


FIXTURES = FeatureFixtures(rows=ROWS, use=use, ids=ids)
