"""Webhooks: only what Stripe signed just now is believed, and only to say where to look."""

import json
import time
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr
from stripe import WebhookSignature

from tests.payments import shops
from tests.payments.shops import CONNECT_SECRET, SECRET, Shop
from tests.support.app import App
from tests.support.clients import Client
from tools.stripe_stand_in.server import Handle


def event(kind: str = "checkout.session.completed", **fields: Any) -> dict[str, Any]:
    """Return an event about a session that doesn't exist."""
    id_ = uuid4().hex
    return {
        "id": f"evt_{id_}",
        "object": "event",
        "type": kind,
        "created": int(time.time()),
        "livemode": False,
        "data": {"object": {"id": f"cs_test_{id_}", "object": "checkout.session"}},
    } | fields


def send(
    shop: Shop, body: Any, *, secret: str = SECRET, late: int = 0, header: str | None = None, to: str = "stripe"
) -> Any:
    """Send a webhook, signed `late` seconds ago; `header` replaces its signature."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    at = int(shop.app.clock().timestamp()) - late
    if header is None:
        header = WebhookSignature.generate_signature_header(content.decode("latin-1"), secret, at)
    headers = {"Stripe-Signature": header, "Content-Type": "application/json"} if header else {}
    return shop.app.http.post(f"/api/v1/payments/webhooks/{to}", content=content, headers=headers)


def status(shop: Shop, sent: dict[str, Any]) -> Any:
    return shop.value("SELECT status FROM provider_events WHERE event_id = $1", sent["id"])


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"header": ""}, "signature_missing"),
        ({"header": "nonsense"}, "signature_invalid"),
        ({"secret": "whsec_of_somebody_else"}, "signature_invalid"),
        ({"secret": CONNECT_SECRET}, "signature_invalid"),
        ({"late": 301}, "stale"),
        ({"late": -301}, "stale"),
    ],
)
def test_unsigned_event_is_refused(shop: Shop, options: dict[str, Any], code: str) -> None:
    sent = event()
    response = send(shop, sent, **options)
    assert (response.status_code, response.json()["code"]) == (400, f"webhook.{code}")
    assert status(shop, sent) is None


@pytest.mark.parametrize("body", [[], {"id": "evt_1"}, event(data={}), event(livemode=None), event(created="now")])
def test_signed_body_that_is_no_event_is_malformed(shop: Shop, body: Any) -> None:
    assert send(shop, body).json()["code"] == "webhook.malformed"


def test_body_that_is_not_utf8_is_refused(shop: Shop) -> None:
    assert send(shop, b"\xff").json()["code"] == "webhook.signature_invalid"


def test_body_above_512_kib_is_refused(shop: Shop) -> None:
    assert send(shop, b" " * (512 * 1024 + 1)).status_code == 413


def test_event_is_recorded_once_and_done(shop: Shop) -> None:
    sent = event()
    assert [send(shop, sent).status_code for _ in range(2)] == [204, 204]
    shop.settle()
    assert status(shop, sent) == "done"  # the session doesn't exist, which is a state
    assert shop.value("SELECT requested FROM provider_syncs WHERE provider_id = $1", sent["data"]["object"]["id"]) == 1


@pytest.mark.parametrize("sent", [event("customer.tax_id.created"), event(livemode=True)])
def test_event_that_nothing_follows_is_ignored(shop: Shop, sent: dict[str, Any]) -> None:
    assert send(shop, sent).status_code == 204
    assert status(shop, sent) == "ignored"


def test_connect_event_without_account_is_ignored(shop: Shop) -> None:
    sent = event("account.updated")
    assert send(shop, sent, secret=CONNECT_SECRET, to="stripe-connect").status_code == 204
    assert status(shop, sent) == "ignored"


def test_forged_events_cost_their_client_and_not_stripe(shop: Shop) -> None:
    signed, forged = send(shop, event()), send(shop, event(), secret="whsec_of_somebody_else")
    assert '"client"' not in signed.headers["RateLimit-Policy"]
    assert '"stripe-webhooks"' not in forged.headers["RateLimit-Policy"]


def test_previous_secret_is_accepted(start_app: Any, migrated_database_url: str, shop: Shop) -> None:
    secrets = {"stripe_webhook_secret": SecretStr("whsec_new"), "stripe_webhook_secret_previous": SecretStr(SECRET)}
    settings = shop.app.services.settings.model_dump(include={"environment", "payments", "stripe_secret_key"})
    app: App = start_app(migrated_database_url, **settings, stripe_api_base=shop.stand_in.url, **secrets)
    other = Shop(app=app, stand_in=shop.stand_in, sendgrid=shop.sendgrid)
    assert [send(other, event(), secret=secret).status_code for secret in ("whsec_new", SECRET)] == [204, 204]
    assert send(other, event(), to="stripe-connect").status_code == 503  # has no secret


def test_payments_that_are_off_answer_503(app: App, client: Client, shop: Shop) -> None:
    off = Shop(app=app, stand_in=Handle(url="", http=shop.stand_in.http), sendgrid=shop.sendgrid)
    client.sign_in()
    responses = [
        send(off, event()),
        off.deposit(client),
        client.as_signed_in("POST", "/payments/portal", {"return_path": "/wallet"}),
    ]
    assert {response.json()["code"] for response in responses} == {"payments.not_configured"}


def test_lost_events_leave_nothing_open_for_the_page(shop: Shop, fan: Client) -> None:
    shop.stand_in.do("disturb", lose=100)
    checkout_id = shop.opened(fan)
    shop.pay(checkout_id)
    assert shop.sync(fan, checkout_id).json()["status"] == "complete"
    assert shop.sync(shop.fan(), checkout_id).json()["code"] == "checkout.not_found"
    assert shops.PATHS["success_path"].split("?")[0] in str(shop.stand_in.do("objects", kind="checkout.session"))
