"""What the tests share: a stand-in, the official client, and an endpoint that receives its events."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import stripe

from tests.support import web
from tools.stripe_stand_in import server
from tools.stripe_stand_in.webhooks import Endpoint

SECRET, CONNECT_SECRET = "whsec_platform", "whsec_connect"
MONTH, YEAR = 2900, 29_000
ENTERPRISE = 19_900
PRICES = {
    "pro_month_usd": (MONTH, "month"),
    "pro_year_usd": (YEAR, "year"),
    "enterprise_month_usd": (ENTERPRISE, "month"),
}


@dataclass(kw_only=True)
class Receiver:
    """A webhook endpoint; answers with `status`."""

    status: int = 204
    bodies: list[tuple[str, str, str]] = field(default_factory=list)  # path, signature, body

    def events(self, path: str = "/platform") -> list[dict[str, Any]]:
        return [json.loads(body) for at, _, body in self.bodies if at == path]

    def types(self, path: str = "/platform") -> list[str]:
        return [event["type"] for event in self.events(path)]


@dataclass(kw_only=True)
class Shop:
    """An account at the stand-in, with three prices."""

    stand_in: server.Handle
    stripe: stripe.StripeClient
    receiver: Receiver
    prices: dict[str, str] = field(default_factory=dict)

    @property
    def v1(self) -> Any:
        """Return the services of the official client, untyped: tests pass wrong parameters, too."""
        return self.stripe.v1

    def use_empty_account(self) -> None:
        """Say that a test needs an account in which nothing was made before."""
        if not isinstance(self.stand_in, server.Handle):
            pytest.skip("an account of Stripe's has more")

    def customer(self, card: str | None = None) -> Any:
        customer = self.v1.customers.create({"email": "ann@example.com"})
        if card:
            self.stand_in.do("set_card", customer=customer.id, card=card)
        return customer

    def subscribe(self, price: str = "pro_month_usd", card: str = "pm_card_visa", **params: Any) -> Any:
        """Create a subscription by the API."""
        customer = self.customer(card)
        items = [{"price": self.prices[price]}]
        return self.v1.subscriptions.create({"customer": customer.id, "items": items, **params})

    def subscription(self, id_: str) -> Any:
        return self.v1.subscriptions.retrieve(id_, {"expand": ["latest_invoice"]})

    def change(self, subscription: Any, price: str, **params: Any) -> Any:
        item = {"id": subscription["items"].data[0].id, "price": self.prices[price]}
        return self.v1.subscriptions.update(subscription.id, {"items": [item], **params})

    def checkout(self, **params: Any) -> Any:
        """Open a Checkout Session for a payment of 50.00."""
        price_data = {"currency": "usd", "unit_amount": 5000, "product_data": {"name": "Deposit"}}
        defaults = {
            "mode": "payment",
            "line_items": [{"price_data": price_data, "quantity": 1}],
            "success_url": "https://app.example/back?session={CHECKOUT_SESSION_ID}",
        }
        return self.v1.checkout.sessions.create(defaults | params)

    def pay(self, session: Any, card: str = "pm_card_visa", **fields: Any) -> dict[str, Any]:
        return self.stand_in.do("pay_checkout", session=session.id, card=card, **fields)

    def charge(self, card: str = "pm_card_visa") -> str:
        """Return the id of the charge of a paid checkout."""
        intent = self.v1.payment_intents.retrieve(self.pay(self.checkout(), card)["payment_intent"])
        return str(intent.latest_charge)

    def events(self) -> list[str]:
        """Return the types of all events, oldest first, after they have been delivered."""
        self.stand_in.do("drain")
        return self.receiver.types()


def client(stand_in: server.Handle, **options: Any) -> stripe.StripeClient:
    return stripe.StripeClient("sk_test_of_the_tests", base_addresses={"api": stand_in.url}, **options)


@contextmanager
def receiving() -> Iterator[tuple[str, Receiver]]:
    receiver = Receiver()

    class Handler(web.Handler):
        def do_POST(self) -> None:
            receiver.bodies.append((self.path, self.headers["stripe-signature"], self.read().decode()))
            self.reply(receiver.status)

    with web.serving(Handler) as url:
        yield url, receiver


class TestMode:
    """Stripe's own test mode, in the place of the stand-in: what needs its commands or its clock is skipped."""

    __test__ = False

    def __init__(self, v1: Any) -> None:
        self._v1 = v1

    def do(self, command: str, **fields: Any) -> dict[str, Any]:
        if command != "set_card":
            pytest.skip(f"Stripe has no command {command}")
        customer = fields["customer"]
        card = self._v1.payment_methods.attach(fields["card"], {"customer": customer})
        self._v1.customers.update(customer, {"invoice_settings": {"default_payment_method": card.id}})
        return {}

    def __getattr__(self, name: str) -> Any:
        pytest.skip(f"Stripe has no {name}")


@contextmanager
def at_stripe(key: str, **addresses: Any) -> Iterator[Shop]:
    """Give a shop in Stripe's test mode."""
    api = stripe.StripeClient(key, max_network_retries=2, **addresses)
    test_mode: Any = TestMode(api.v1)
    yield filled(Shop(stand_in=test_mode, stripe=api, receiver=Receiver()))


def filled(shop: Shop) -> Shop:
    product = shop.v1.products.create({"name": "Plan"})
    for key, (amount, interval) in PRICES.items():
        fields = {"product": product.id, "currency": "usd", "unit_amount": amount}
        keys = {"lookup_key": key, "transfer_lookup_key": True}
        shop.prices[key] = shop.v1.prices.create(fields | keys | {"recurring": {"interval": interval}}).id
    return shop


@contextmanager
def opened() -> Iterator[Shop]:
    with receiving() as (url, receiver):
        endpoints = [
            Endpoint(id="we_platform", url=f"{url}/platform", secret=SECRET),
            Endpoint(id="we_connect", url=f"{url}/connect", secret=CONNECT_SECRET, connect=True),
        ]
        with server.running(endpoints=endpoints) as stand_in:
            yield filled(Shop(stand_in=stand_in, stripe=client(stand_in, max_network_retries=0), receiver=receiver))
