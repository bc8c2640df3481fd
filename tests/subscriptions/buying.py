"""What accounts do to buy and change plans, at a shop whose payments go to the stand-in of Stripe."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx2

from tests.payments.shops import PATHS, Shop
from tests.support.clients import Client

MONTH, YEAR, ENTERPRISE = 2900, 29_000, 19_900
PRICES = {"pro_month_usd": MONTH, "pro_year_usd": YEAR, "enterprise_month_usd": ENTERPRISE}

SUBSCRIPTION = (
    "SELECT status || ' ' || price_id || ' ' || cancel_at_period_end FROM subscriptions WHERE provider_id = $1"
)
INVOICE = "SELECT status || ' ' || paid FROM invoices WHERE provider_id = $1"


def sell(shop: Shop) -> None:
    """Make the prices of the plans at Stripe; their events bring them here."""
    product = shop.stripe.v1.products.create({"name": "Plan"})
    for key, amount in PRICES.items():
        shop.stripe.v1.prices.create(
            {
                "product": product.id,
                "currency": "usd",
                "unit_amount": amount,
                "lookup_key": key,
                "recurring": {"interval": "year" if "year" in key else "month"},
            }
        )
    shop.settle()


@dataclass
class Buyer:
    """An account that buys a plan."""

    shop: Shop
    tag_of: "Buyer | None" = None
    """Another account of the same mailbox."""
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = Client(self.shop.app.http, self.shop.sendgrid)
        if self.tag_of:
            self.client.email = self.tag_of.client.email.replace("@", "+2@")
        self.client.sign_in()

    @property
    def user_id(self) -> UUID:
        return UUID(self.client.tokens["user"]["id"])

    def back(self) -> "Buyer":
        """Sign in again: the clock was moved. E-mails about billing have arrived among those with links."""
        self.client.mails = len(self.shop.sendgrid.mails_to(self.client.email))
        self.shop.again(self.client)
        return self

    def start(
        self, plan: str = "PRO", interval: str = "month", *, key: str | None = None, **fields: Any
    ) -> httpx2.Response:
        amount = PRICES.get(f"{plan}_{interval}_usd".lower(), 1)
        body = {"plan": plan, "interval": interval, "currency": "USD", "expected_amount": amount, **PATHS}
        headers = {"Idempotency-Key": key or str(uuid4())}
        return self.client.as_signed_in("POST", "/payments/subscription", body | fields, headers=headers)

    def page(self, plan: str = "PRO", interval: str = "month") -> str:
        """Open a page; return the checkout's id."""
        answer = self.start(plan, interval)
        assert answer.status_code in {200, 201}, answer.text
        return str(answer.json()["checkout_id"])

    def subscribe(self, plan: str = "PRO", interval: str = "month", card: str = "pm_card_visa") -> "Buyer":
        """Buy a plan, or begin its trial, and let the events be processed."""
        self.shop.pay(self.page(plan, interval), card)
        self.shop.settle()
        return self

    def subscribe_paid(self, plan: str = "PRO", interval: str = "month", card: str = "pm_card_visa") -> "Buyer":
        """Buy a plan without a trial."""
        self.shop.execute(
            "INSERT INTO trial_uses (user_id, subscription_id, used_at, is_refused)"
            f" SELECT '{self.user_id}', id, now(), true FROM subscriptions LIMIT 1"
        )
        return self.subscribe(plan, interval, card)

    def get(self) -> dict[str, Any]:
        answer = self.client.as_signed_in("GET", "/payments/subscription")
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def state(self) -> tuple[str, str | None]:
        """Return the plan in force, and the subscription's status."""
        body = self.get()
        return body["plan"], body["subscription"] and body["subscription"]["status"]

    def preview(self, plan: str, interval: str) -> dict[str, Any]:
        answer = self.client.as_signed_in("GET", f"/payments/subscription/preview?plan={plan}&interval={interval}")
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def change(self, plan: str, interval: str, *, key: str | None = None, **fields: Any) -> httpx2.Response:
        body = {"plan": plan, "interval": interval} | fields
        headers = {"Idempotency-Key": key or str(uuid4())}
        answer = self.client.as_signed_in("PATCH", "/payments/subscription", body, headers=headers)
        self.shop.settle()
        return answer

    def upgrade(self, plan: str, interval: str, **fields: Any) -> httpx2.Response:
        """Preview a change, and make it."""
        seen = self.preview(plan, interval)
        agreed = {"expected_due": seen["amount_due"], "proration_at": seen["proration_at"]}
        return self.change(plan, interval, **agreed | fields)

    def cancel(self, query: str = "") -> httpx2.Response:
        answer = self.client.as_signed_in("DELETE", f"/payments/subscription{query}")
        self.shop.settle()
        return answer

    def reactivate(self) -> httpx2.Response:
        return self.client.as_signed_in("POST", "/payments/subscription/reactivate")

    def column(self, name: str) -> Any:
        """Return a value of the newest subscription's row."""
        query = f"SELECT {name} FROM subscriptions WHERE user_id = $1 ORDER BY id DESC LIMIT 1"
        return self.shop.value(query, self.user_id)

    def paid(self) -> int:
        """Return what the account has paid for plans, less refunds. An invariant compares it with the ledger."""
        query = "SELECT coalesce(sum(paid - refunded), 0)::bigint FROM invoices WHERE user_id = $1"
        return int(self.shop.value(query, self.user_id))

    # At Stripe

    def customer(self) -> str:
        query = "SELECT provider_id FROM provider_customers WHERE user_id = $1"
        return str(self.shop.value(query, self.user_id))

    def subscription(self) -> Any:
        """Return the newest subscription at Stripe."""
        page = self.shop.stripe.v1.subscriptions.list({"customer": self.customer(), "status": "all"})
        return page.data[0]

    def invoices(self) -> list[Any]:
        """Return the invoices at Stripe, newest first."""
        return list(self.shop.stripe.v1.invoices.list({"customer": self.customer()}).data)

    def use_card(self, card: str) -> None:
        self.shop.stand_in.do("set_card", customer=self.customer(), card=card)

    def assert_as_at_stripe(self, *, with_invoices: bool = True) -> None:
        """Compare each subscription and invoice with the stand-in's."""
        for each in self.shop.stripe.v1.subscriptions.list({"customer": self.customer(), "status": "all"}).data:
            price, is_canceling = each["items"].data[0].price.id, str(each.cancel_at_period_end).lower()
            assert self.shop.value(SUBSCRIPTION, each.id) == f"{each.status} {price} {is_canceling}", each.id
        for invoice in self.invoices() if with_invoices else []:
            assert self.shop.value(INVOICE, invoice.id) == f"{invoice.status} {invoice.amount_paid}", invoice.id

    def mails(self) -> list[str]:
        """Return the purposes of the e-mails about billing, oldest first."""
        query = "SELECT coalesce(string_agg(kind, ' ' ORDER BY created_at), '') FROM billing_notices WHERE user_id = $1"
        return str(self.shop.value(query, self.user_id)).split()


def refusal(answer: httpx2.Response) -> str:
    return f"{answer.status_code} {answer.json()['code']}"
