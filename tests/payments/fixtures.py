"""Rows and requests of payments, for query plans and fuzzing."""

import json
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import httpx2
from stripe import WebhookSignature

from tests.funding.fixtures import ADMIN as OWNER
from tests.payments.shops import CONNECT_SECRET, SECRET
from tests.support.clients import Client
from tests.support.feature import FeatureFixtures

ADMIN = UUID("01930b5a-7c1e-7d3f-8a52-6f0e4b9c2f27")
ADDRESS = "payments-admin@example.com"

ROWS = f"""
INSERT INTO users (id, email, email_key, role, created_at) VALUES ('{ADMIN}', '{ADDRESS}', '{ADDRESS}', 'admin', now());
INSERT INTO provider_customers (user_id, provider_id, created_at) SELECT id, 'cus_' || id, now()
    FROM users WHERE email LIKE 'u%@example.org' LIMIT 9000;
INSERT INTO provider_events (event_id, type, object_kind, object_id, livemode, created, received_at, status, sync_kind,
        sync_id)
    SELECT 'evt_' || n, 'invoice.paid', 'invoice', 'in_' || n, false, at, at,
        CASE WHEN n % 100 = 0 THEN 'failed' ELSE 'done' END, 'invoice', 'in_' || n
    FROM (SELECT n, now() - random() * interval '400 days' AS at FROM generate_series(1, 20000) AS n) AS events;
INSERT INTO provider_syncs (kind, provider_id, requested, synced, next_at)
    SELECT 'invoice', 'in_' || n, 2, 1 + least(n % 100, 1), now() + interval '1 day'
    FROM generate_series(1, 20000) AS n;
INSERT INTO checkouts (id, user_id, kind, amount, currency, success_path, cancel_path, status, provider_id, expires_at,
        created_at)
    SELECT gen_random_uuid(), id, 'deposit', 2500, 'USD', '/', '/', 'expired', 'cs_' || id, now(), now()
    FROM users LIMIT 9000;
UPDATE checkouts SET status = 'creating', created_at = now() + interval '1 day' WHERE provider_id < 'cs_1';
INSERT INTO ledger_holds (id, account_id, amount, key, purpose, expires_at, created_at)
    SELECT gen_random_uuid(), ledger_account_id_v1('user/{OWNER}/available/USD/0'), 1, 'payments ' || n,
        'deposit_refund', now() + interval '1 year', now() FROM generate_series(1, 3000) AS n;
UPDATE ledger_holds SET status = 'voided' WHERE key LIKE 'payments %';
INSERT INTO deposit_refunds (id, deposit_id, user_id, amount, status, hold_id, provider_id, actor_id, created_at)
    SELECT gen_random_uuid(), deposit.id, user_id, 1, CASE WHEN key < 'payments 12' THEN 'requested' ELSE 'failed' END,
        hold.id, 're_' || hold.id, '{OWNER}', now() + interval '1 day'
    FROM (SELECT id, key, row_number() OVER () FROM ledger_holds WHERE key LIKE 'payments %') AS hold
        JOIN (SELECT id, user_id, row_number() OVER () FROM deposits WHERE provider_ref LIKE 'row %') AS deposit
            USING (row_number);
INSERT INTO deposit_disputes (id, deposit_id, provider, provider_ref, amount, status, created_at, updated_at)
    SELECT gen_random_uuid(), id, 'operator', 'dispute ' || id, 1, 'won', now(), now()
    FROM deposits WHERE provider_ref LIKE 'row %';
INSERT INTO payout_accounts (user_id, provider_id, country, payouts_enabled, requirements_due, synced_at)
    SELECT id, 'acct_' || id, 'DE', true, '{{}}', now() FROM users WHERE email LIKE 'u%@example.org' LIMIT 9000;
"""


def use(client: Client) -> None:
    """Call each operation once, as an admin, with a stand-in of Stripe."""
    admin = Client(client.http, client.sendgrid, email=ADDRESS).sign_in()

    def send(path: str, body: Any = None) -> Any:
        response = admin.as_signed_in("POST", f"/payments/{path}", body, headers={"Idempotency-Key": str(uuid4())})
        return response.json()

    page = send("checkout", {"amount": 2500, "currency": "USD", "success_path": "/", "cancel_path": "/"})
    stand_in, session = page["url"].split("/pay/")
    httpx2.post(f"{stand_in}/_stand_in/pay_checkout", json={"session": session}).raise_for_status()
    send(f"checkouts/{page['checkout_id']}/sync")
    [deposit] = admin.as_signed_in("GET", "/payments/history?type=deposit&status=succeeded").json()["data"]
    send(f"deposits/{deposit['id']}/refund", {"amount": 1000})
    send("portal", {"return_path": "/"})
    send("connect", {"country": "DE", "return_path": "/", "refresh_path": "/"})
    for path in ("connect", "history", "events", "reconciliation", "events?status=failed"):
        admin.as_signed_in("GET", f"/payments/{path}")
    first = admin.as_signed_in("GET", "/payments/events?limit=1").json()
    admin.as_signed_in("GET", f"/payments/events?limit=1&cursor={first['next_cursor']}")
    for endpoint, secret in (("stripe", SECRET), ("stripe-connect", CONNECT_SECRET)):
        event = {"id": f"evt_{endpoint}", "type": "refund.updated", "created": int(time.time()), "livemode": False}
        body = json.dumps(event | {"data": {"object": {"id": "re_unknown", "object": "refund"}}})
        signature = WebhookSignature.generate_signature_header(body, secret)
        headers = {"Stripe-Signature": signature, "Content-Type": "application/json"}
        client.http.post(f"/api/v1/payments/webhooks/{endpoint}", content=body, headers=headers)


def ids(_client: Client) -> Mapping[str, Any]:
    return {}


FIXTURES = FeatureFixtures(
    rows=ROWS,
    use=use,
    ids=ids,
    background=[
        "UPDATE provider_syncs AS s SET next_at",  # each minute, as the next three
        "AND checkouts.created_at <",
        "AND deposit_refunds.created_at <",
        "UPDATE provider_events SET status",  # an event is done
        "DELETE FROM provider_events",
    ],
)
