"""What an account does, and what becomes of the events, in any order: in the end both sides say the same.

After the events were lost, doubled, held and shuffled, the reconciliation runs; then each subscription and each invoice
is compared with the stand-in's, and all invariants hold.
"""

import asyncio
from typing import Any, ClassVar

import pytest
from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from audifi.payments.reconciliation import read_events
from audifi.subscriptions.reconciliation import look_at_live
from tests.payments.processes import process
from tests.payments.shops import Shop
from tests.subscriptions.buying import Buyer
from tests.support.app import check_invariants

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

CARDS = strategies.sampled_from(["pm_card_visa", "pm_card_mastercard", "pm_card_chargeCustomerFail"])
PLANS = strategies.sampled_from([("PRO", "month"), ("PRO", "year"), ("ENTERPRISE", "month")])
EXPECTED = {200, 201, 402, 409, 429}
ROW = "SELECT status || ' ' || price_id || ' ' || cancel_at_period_end FROM subscriptions WHERE provider_id = $1"
INVOICE = "SELECT status || ' ' || paid FROM invoices WHERE provider_id = $1"


class LifeMachine(RuleBasedStateMachine):
    """An account, and the stand-in's customer."""

    shop: ClassVar[Shop]

    def __init__(self) -> None:
        super().__init__()
        self.buyer = Buyer(self.shop)
        self.has_customer = False

    @rule(plan=PLANS, card=CARDS)
    def subscribe(self, plan: tuple[str, str], card: str) -> None:
        answer = self.buyer.start(*plan)
        assert answer.status_code in EXPECTED, answer.text
        if answer.status_code in {200, 201}:
            self.has_customer = True
            self.shop.pay(answer.json()["checkout_id"], card)
            self.shop.sync(self.buyer.client, answer.json()["checkout_id"])

    @precondition(lambda self: self.has_customer)
    @rule(plan=PLANS)
    def change(self, plan: tuple[str, str]) -> None:
        path = f"/payments/subscription/preview?plan={plan[0]}&interval={plan[1]}"
        seen = self.buyer.client.as_signed_in("GET", path)
        agreed: dict[str, Any] = {}
        if seen.status_code == 200:
            agreed = {"expected_due": seen.json()["amount_due"], "proration_at": seen.json()["proration_at"]}
        answer = self.buyer.change(*plan, **agreed)
        assert answer.status_code in EXPECTED, answer.text

    @precondition(lambda self: self.has_customer)
    @rule(query=strategies.sampled_from(["", "", "?cancelImmediately=true"]))
    def cancel(self, query: str) -> None:
        assert self.buyer.cancel(query).status_code in EXPECTED

    @precondition(lambda self: self.has_customer)
    @rule()
    def reactivate(self) -> None:
        assert self.buyer.reactivate().status_code in EXPECTED

    @precondition(lambda self: self.has_customer)
    @rule(card=CARDS)
    def use_card(self, card: str) -> None:
        self.buyer.use_card(card)

    @rule(days=strategies.sampled_from([0.1, 3, 12, 31]))
    def advance(self, days: float) -> None:
        self.shop.advance(days=days)
        self.buyer.back()

    @precondition(lambda self: self.has_customer)
    @rule(is_disputed=strategies.booleans())
    def take_money_back(self, *, is_disputed: bool) -> None:
        for invoice in self.buyer.invoices():
            for payment in self.shop.stripe.v1.invoice_payments.list({"invoice": invoice.id, "status": "paid"}).data:
                intent: Any = payment.payment.payment_intent
                charge: Any = self.shop.stripe.v1.payment_intents.retrieve(intent, {"expand": ["latest_charge"]})
                charge = charge.latest_charge
                if charge.disputed or charge.amount_refunded:
                    continue
                if is_disputed:
                    self.shop.stand_in.do("dispute", charge=charge.id)
                else:
                    self.shop.stripe.v1.refunds.create({"charge": charge.id, "amount": 100})
                return

    @rule(held=strategies.booleans(), copies=strategies.integers(1, 3), lose=strategies.sampled_from([0, 0, 5, 1000]))
    def disturb(self, *, held: bool, copies: int, lose: int) -> None:
        self.shop.stand_in.do("disturb", held=held, copies=copies, lose=lose)

    @rule(order=strategies.sampled_from(["as_created", "reversed", "shuffled"]))
    def release(self, order: str) -> None:
        self.shop.stand_in.do("release", order=order)
        self.shop.settle()

    def teardown(self) -> None:
        self.shop.stand_in.do("release", order="shuffled")
        self.shop.stand_in.do("disturb")
        self.shop.settle()
        asyncio.run(self.reconcile())
        self.shop.settle()
        if self.has_customer:
            self.compare()
        check_invariants(self.shop.app.database_url)
        self.buyer.back().cancel("?cancelImmediately=true")
        self.shop.execute("UPDATE trial_uses SET card_hash = NULL")

    async def reconcile(self) -> None:
        async with process(self.shop) as services:
            await read_events(services)
            await look_at_live(services)

    def compare(self) -> None:
        page = self.shop.stripe.v1.subscriptions.list({"customer": self.buyer.customer(), "status": "all"})
        for each in page.data:
            price = each["items"].data[0].price.id
            is_canceling = str(each.cancel_at_period_end).lower()
            assert self.shop.value(ROW, each.id) == f"{each.status} {price} {is_canceling}", each.id
        for invoice in self.buyer.invoices():
            assert self.shop.value(INVOICE, invoice.id) == f"{invoice.status} {invoice.amount_paid}", invoice.id


def test_both_sides_end_equal_whatever_happens(shop: Shop) -> None:
    machine = type("Machine", (LifeMachine,), {"shop": shop})

    run_state_machine_as_test(
        machine, settings=settings(max_examples=8, stateful_step_count=12, deadline=None, derandomize=True)
    )
