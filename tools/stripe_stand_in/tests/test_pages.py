"""The pages, as a browser uses them, and the program."""

import re
import socket
import subprocess
import sys
from typing import Any

import httpx2
import pytest

from tests.support.api import ROOT
from tools.stripe_stand_in import __main__ as program
from tools.stripe_stand_in.tests.shop import Shop

pytestmark = pytest.mark.timeout(60)


def submit(shop: Shop, url: str, **fields: str) -> httpx2.Response:
    return shop.stand_in.http.post(url, data=fields)


def checkout(shop: Shop, **params: Any) -> Any:
    return shop.checkout(cancel_url="https://app.example/cancel?a=1&b=2", **params)


def test_checkout_page_is_paid(shop: Shop) -> None:
    session = checkout(shop)
    shown = shop.stand_in.http.get(session.url)
    assert "50.00 USD" in shown.text
    assert 'href="https://app.example/cancel?a=1&amp;b=2"' in shown.text

    paid = submit(shop, session.url, action="pay")
    assert paid.status_code == 303
    assert paid.headers["location"] == f"https://app.example/back?session={session.id}"
    assert shop.v1.checkout.sessions.retrieve(session.id).payment_status == "paid"
    again = submit(shop, f"{shop.stand_in.url}/pay/{session.id}", action="pay")
    assert again.status_code == 303
    assert len(shop.v1.charges.list().data) == 1


def test_checkout_page_shows_a_decline(shop: Shop) -> None:
    session = checkout(shop)
    declined = submit(shop, session.url, action="decline")

    assert "Your card was declined." in declined.text
    assert "Pay" in declined.text
    assert shop.v1.checkout.sessions.retrieve(session.id).status == "open"
    assert submit(shop, session.url, action="card", card="pm_card_bypassPending").status_code == 303


@pytest.mark.parametrize("action", ["authenticate", "decline"])
def test_checkout_page_asks_for_authentication(shop: Shop, action: str) -> None:
    session = checkout(shop)
    waiting = submit(shop, session.url, action="card", card="pm_card_authenticationRequired")
    assert "Your bank asks you to confirm." in waiting.text

    answer = submit(shop, session.url, action=action, card="pm_card_authenticationRequired")
    assert answer.status_code == (303 if action == "authenticate" else 200)


def test_expired_checkout_page_says_so(shop: Shop) -> None:
    session = checkout(shop)
    shop.v1.checkout.sessions.expire(session.id)

    assert submit(shop, session.url, action="pay").status_code == 410
    assert shop.stand_in.http.get(f"{shop.stand_in.url}/pay/cs_test_x").status_code == 404


def test_names_are_escaped(shop: Shop) -> None:
    price = {"currency": "usd", "unit_amount": 100, "product_data": {"name": "<script>"}}
    session = shop.checkout(line_items=[{"price_data": price}])

    assert "<script>" not in shop.stand_in.http.get(session.url).text


def portal(shop: Shop, customer: str) -> str:
    params = {"customer": customer, "return_url": "https://app.example/account"}
    return str(shop.v1.billing_portal.sessions.create(params).url)


def test_portal_cancels_and_reactivates(shop: Shop) -> None:
    subscription = shop.subscribe()
    url = portal(shop, subscription.customer)
    assert "ends with the period" in submit(shop, url, action="cancel", id=subscription.id).text
    assert shop.subscription(subscription.id).cancel_at_period_end

    assert "ends with the period" not in submit(shop, url, action="reactivate", id=subscription.id).text
    assert not shop.subscription(subscription.id).cancel_at_period_end


def test_portal_pays_an_open_invoice(shop: Shop) -> None:
    subscription = shop.subscribe()
    url = portal(shop, subscription.customer)
    submit(shop, url, action="card", card="pm_card_chargeCustomerFail")
    shop.stand_in.advance(days=31, hours=1)
    shown = shop.stand_in.http.get(url).text
    assert "past_due" in shown
    invoice = re.findall(r'value="(in_\w+)"', shown)[0]
    submit(shop, url, action="decline", id=invoice)
    assert shop.subscription(subscription.id).status == "past_due"

    submit(shop, url, action="pay", id=invoice)
    assert shop.subscription(subscription.id).status == "active"


def test_portal_touches_only_its_customer(shop: Shop) -> None:
    other = shop.subscribe()
    url = portal(shop, shop.customer().id)
    submit(shop, url, action="cancel", id=other.id)

    assert not shop.subscription(other.id).cancel_at_period_end


def test_portal_link_expires_unless_used(shop: Shop) -> None:
    used, unused = (portal(shop, shop.customer().id) for _ in range(2))
    assert shop.stand_in.http.get(used).status_code == 200
    shop.stand_in.advance(seconds=300)

    assert shop.stand_in.http.get(used).status_code == 200
    assert shop.stand_in.http.get(unused).status_code == 410


def test_invoice_page_pays_a_pending_upgrade(shop: Shop) -> None:
    subscription = shop.subscribe()
    shop.stand_in.do("set_card", customer=subscription.customer, card="pm_card_chargeCustomerFail")
    behavior = {"proration_behavior": "always_invoice", "payment_behavior": "pending_if_incomplete"}
    changed = shop.change(subscription, "enterprise_month_usd", **behavior, expand=["latest_invoice"])
    url = changed.latest_invoice.hosted_invoice_url
    assert "Your card was declined." in submit(shop, url, action="decline").text
    assert "confirm" in submit(shop, url, action="card", card="pm_card_authenticationRequired").text

    paid = submit(shop, url, action="authenticate", card="pm_card_authenticationRequired")
    assert "paid" in paid.text
    assert shop.subscription(subscription.id)["items"].data[0].price.lookup_key == "enterprise_month_usd"


@pytest.mark.parametrize("action", ["complete", "later"])
def test_onboarding_page_is_for_one_visit(shop: Shop, action: str) -> None:
    account = shop.v1.accounts.create({"type": "express", "capabilities": {"transfers": {"requested": True}}})
    urls = {"refresh_url": "https://app.example/refresh", "return_url": "https://app.example/return"}
    link = shop.v1.account_links.create({"account": account.id, "type": "account_onboarding", **urls})
    assert "Give all details" in shop.stand_in.http.get(link.url).text

    assert submit(shop, link.url, action=action).headers["location"] == urls["return_url"]
    assert shop.v1.accounts.retrieve(account.id).payouts_enabled == (action == "complete")
    assert submit(shop, link.url, action=action).headers["location"] == urls["refresh_url"]


def test_program_adds_prices_and_endpoints() -> None:
    arguments = (
        "--port 1 --webhook-url http://a.example --connect-webhook-secret s --price pro_month_usd=2900/usd/month"
    )
    stand_in, port = program.build(arguments.split())

    assert (port, stand_in.world.base_url) == (1, "http://localhost:1")
    assert [endpoint.id for endpoint in stand_in.webhooks.endpoints] == ["we_platform"]
    price = stand_in.world.all("price")[0]
    assert (price["lookup_key"], price["unit_amount"], price["recurring"]["interval"]) == (
        "pro_month_usd",
        2900,
        "month",
    )
    assert stand_in.world.objects[price["product"]]["name"] == "PRO"


def test_program_serves() -> None:
    """Its clock runs by itself, and what is due then happens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tools.stripe_stand_in", "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == f"Stand-in of Stripe on http://localhost:{port}\n"
            with httpx2.Client(base_url=f"http://127.0.0.1:{port}", transport=httpx2.HTTPTransport(retries=9)) as http:
                first = http.post("/_stand_in/clock").json()["now"]
                while http.post("/_stand_in/clock").json()["now"] == first:
                    pass
        finally:
            process.terminate()


def test_ids_differ_after_a_restart() -> None:
    """The server's database still has the earlier ones."""
    ids = [set(program.build(["--price", "pro_month_usd=2900/usd/month"])[0].world.objects) for _ in range(2)]
    assert ids[0].isdisjoint(ids[1])
