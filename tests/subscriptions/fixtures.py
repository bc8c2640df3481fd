"""Rows and requests of subscriptions, for query plans and fuzzing."""

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
from stripe import StripeClient, WebhookSignature

from tests.payments.shops import SECRET
from tests.support.clients import Client
from tests.support.feature import FeatureFixtures
from tests.support.waiting import wait_until

ROWS = """
INSERT INTO plan_prices (price_id, plan, interval, currency, unit_amount, lookup_key, entitlements_version, active)
    SELECT 'price_' || n, 'PRO', 'month', 'USD', 100, 'pro_' || n, 1, false FROM generate_series(1, 8) AS n;
INSERT INTO subscriptions (id, user_id, provider_id, plan, interval, price_id, status, period_start, period_end,
        cancel_at_period_end, access_until, version, synced_at)
    SELECT gen_random_uuid(), id, 'sub_' || id || n, 'PRO', 'month', 'price_1',
        (ARRAY['canceled', 'canceled', 'active'])[n], began, began + interval '1 month', false,
        CASE n WHEN 3 THEN now() + interval '1 month' ELSE began END, 1, began
    FROM (SELECT id, n, now() - random() * interval '1 year' AS began
        FROM (SELECT id FROM users LIMIT 5000) AS users, generate_series(1, 3) AS n) AS begun;
INSERT INTO plan_grants (id, user_id, plan, reason, starts_at, ends_at)
    SELECT gen_random_uuid(), id, 'PRO', 'A', created_at, created_at + n * interval '1 month'
    FROM (SELECT id, created_at FROM users LIMIT 5000) AS users, generate_series(1, 3) AS n;
INSERT INTO invoices (id, provider_id, user_id, subscription_id, status, currency, subtotal, tax, total, paid, tax_paid,
        attempts, period_start, period_end)
    SELECT gen_random_uuid(), 'in_' || id, user_id, id, 'open', 'USD', 1, 0, 1, 0, 0, 1, period_start, period_end
    FROM subscriptions;
INSERT INTO invoice_adjustments (kind, provider_id, invoice_id, amount, tax, created_at)
    SELECT 'dispute', 'dp_' || id, id, 1, 0, now() FROM invoices;
INSERT INTO billing_notices (id, kind, user_id, created_at)
    SELECT id, 'payment_failed', user_id, now() - random() * interval '500 days' FROM invoices;
INSERT INTO trial_uses (user_id, card_hash, mailbox_hash, subscription_id, used_at, is_refused)
    SELECT DISTINCT ON (user_id) user_id, sha256(id::text::bytea), sha256(user_id::text::bytea), id, now(), false
    FROM subscriptions;
INSERT INTO usage_uses (user_id, key, ref, period, used_at)
    SELECT id, 'studio_sessions', gen_random_uuid(), ('2026-0' || n || '-01')::date, created_at
    FROM (SELECT id, created_at FROM users LIMIT 5000) AS users, generate_series(1, 5) AS n;
INSERT INTO usage_counters (user_id, key, period, used)
    SELECT user_id, key, period, count(*) FROM usage_uses GROUP BY 1, 2, 3;
"""


def grant(client: Client) -> None:
    """Have an admin grant itself the highest plan."""
    ends_at = datetime.now(UTC) + timedelta(days=365)
    body = {"user_id": client.tokens["user"]["id"], "plan": "ENTERPRISE", "reason": "A test"}
    headers = {"Idempotency-Key": str(uuid4())}
    answer = client.as_signed_in("POST", "/payments/grants", body | {"ends_at": ends_at.isoformat()}, headers=headers)
    assert answer.is_success, answer.text


def use(client: Client) -> None:
    """Call each operation once, as an admin."""
    grant(client)
    for path in ("plans", "plans/PRO", "subscription", "entitlements", "usage"):
        assert client.as_signed_in("GET", f"/payments/{path}").is_success
    subscribe(client)
    for path in ("preview?plan=PRO&interval=year", "preview?plan=PRO&interval=month"):
        assert client.as_signed_in("GET", f"/payments/subscription/{path}").is_success
    assert _send(client, "PATCH", "subscription", {"plan": "PRO", "interval": "month"}).is_success
    assert client.as_signed_in("DELETE", "/payments/subscription").is_success
    assert client.as_signed_in("POST", "/payments/subscription/reactivate").is_success


def subscribe(client: Client) -> None:
    """Make a price at the stand-in of Stripe, and buy it there."""
    paths = {"success_path": "/", "cancel_path": "/"}
    deposit = {"amount": 2500, "currency": "USD"} | paths
    stand_in, _ = _send(client, "POST", "checkout", deposit).json()["url"].split("/pay/")
    stripe = StripeClient("sk_test_of_the_tests", base_addresses={"api": stand_in})
    product = stripe.v1.products.create({"name": "Plan"})
    for interval, amount in (("month", 2900), ("year", 29_000)):
        price: Any = {"product": product.id, "currency": "usd", "unit_amount": amount}
        price |= {"lookup_key": f"pro_{interval}_usd", "recurring": {"interval": interval}}
        _tell(client, stripe.v1.prices.create(price).id)
        wait_until(lambda amount=amount: str(amount) in client.as_signed_in("GET", "/payments/plans/PRO").text)  # type: ignore[misc] # mypy's
    plan = {"plan": "PRO", "interval": "month", "currency": "USD", "expected_amount": 2900}
    page = _send(client, "POST", "subscription", plan | paths).json()
    session = page["url"].split("/pay/")[1]
    httpx2.post(f"{stand_in}/_stand_in/pay_checkout", json={"session": session}).raise_for_status()
    _send(client, "POST", f"checkouts/{page['checkout_id']}/sync")
    wait_until(lambda: client.as_signed_in("GET", "/payments/subscription").json()["subscription"] is not None)


def _send(client: Client, method: str, path: str, body: Any = None) -> httpx2.Response:
    return client.as_signed_in(method, f"/payments/{path}", body, headers={"Idempotency-Key": str(uuid4())})


def _tell(client: Client, price_id: str) -> None:
    """Send the event of a new price, as Stripe does."""
    event = {"id": f"evt_{price_id}", "type": "price.created", "created": int(time.time()), "livemode": False}
    body = json.dumps(event | {"data": {"object": {"id": price_id, "object": "price"}}})
    headers = {
        "Stripe-Signature": WebhookSignature.generate_signature_header(body, SECRET),
        "Content-Type": "application/json",
    }
    client.http.post("/api/v1/payments/webhooks/stripe", content=body, headers=headers).raise_for_status()


def ids(_client: Client) -> dict[str, Any]:
    """Return path parameters."""
    return {"plan_id": "PRO"}


BACKGROUND = (
    "AS count FROM subscriptions",  # each minute
    "DELETE FROM billing_notices",
    "INSERT INTO subscriptions AS s",  # a sync
    "INSERT INTO invoices AS i",
)

FIXTURES = FeatureFixtures(rows=ROWS, use=use, ids=ids, background=BACKGROUND)
