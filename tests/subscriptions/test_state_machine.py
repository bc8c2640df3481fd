"""What an account does, and what becomes of the events, in any order: in the end both sides say the same.

Events are lost, doubled, held and shuffled, and much happens at Stripe alone. Then the reconciliation runs,
each subscription, invoice, refund and dispute is compared with the stand-in's, and all invariants hold.
"""

import asyncio
from contextlib import suppress
from typing import Any, ClassVar

import pytest
from hypothesis import Phase, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from stripe import InvalidRequestError

from audifi.payments.reconciliation import read_events
from audifi.subscriptions.models import LIVE_STATUSES
from audifi.subscriptions.reconciliation import look_at_live
from tests.payments.processes import process
from tests.payments.shops import Shop
from tests.subscriptions.buying import Buyer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

CARDS = strategies.sampled_from(["pm_card_visa", "pm_card_mastercard", "pm_card_chargeCustomerFail"])
PLANS = strategies.sampled_from([("ENTERPRISE", "month"), ("PRO", "month"), ("PRO", "year")])
LOST = {"lose": 10_000}
DELIVERIES = strategies.sampled_from([LOST, {"held": True, "copies": 2}, {"copies": 3}])
ANSWERS = {200, 201, 402, 409}
REFUNDED = "SELECT refunded FROM invoices WHERE provider_id = $1"
DISPUTES = """
    SELECT count(*) FROM invoice_adjustments AS a JOIN invoices AS i ON i.id = a.invoice_id
    WHERE a.kind = 'dispute' AND i.user_id = $1
"""


class LifeMachine(RuleBasedStateMachine):
    """An account, and the stand-in's customer."""

    shop: ClassVar[Shop]

    @initialize(deliveries=DELIVERIES)
    def begin(self, deliveries: dict[str, Any]) -> None:
        self.buyer = Buyer(self.shop).subscribe("ENTERPRISE")
        self.deliver(deliveries)

    @rule(plan=PLANS, card=CARDS)
    def subscribe(self, plan: tuple[str, str], card: str) -> None:
        answer = self.buyer.start(*plan)
        assert answer.status_code in ANSWERS, answer.text
        if answer.status_code in {200, 201}:
            self.shop.pay(answer.json()["checkout_id"], card)
            self.shop.sync(self.buyer.client, answer.json()["checkout_id"])

    @rule(plan=PLANS)
    def change(self, plan: tuple[str, str]) -> None:
        path = f"/payments/subscription/preview?plan={plan[0]}&interval={plan[1]}"
        seen = self.buyer.client.as_signed_in("GET", path)
        agreed: dict[str, Any] = {}
        if seen.status_code == 200:
            agreed = {"expected_due": seen.json()["amount_due"], "proration_at": seen.json()["proration_at"]}
        answer = self.buyer.change(*plan, **agreed)
        assert answer.status_code in ANSWERS, answer.text

    @rule(query=strategies.sampled_from(["", "", "?cancelImmediately=true"]))
    def cancel(self, query: str) -> None:
        assert self.buyer.cancel(query).status_code in ANSWERS

    @rule()
    def reactivate(self) -> None:
        assert self.buyer.reactivate().status_code in ANSWERS

    @rule(is_canceling=strategies.sampled_from([True, True, False]))
    def cancel_in_portal(self, *, is_canceling: bool) -> None:
        """No request of the account's comes here: an event tells of it, or the reconciliation."""
        for each in self.subscriptions():
            with suppress(InvalidRequestError):  # it has ended, or a schedule decides
                self.shop.stripe.v1.subscriptions.update(each.id, {"cancel_at_period_end": is_canceling})

    @rule()
    def cancel_by_hand(self) -> None:
        for each in self.subscriptions():
            if each.status in LIVE_STATUSES:
                self.shop.stripe.v1.subscriptions.cancel(each.id)

    @rule(card=CARDS)
    def use_card(self, card: str) -> None:
        self.buyer.use_card(card)

    @rule(days=strategies.sampled_from([0.1, 3, 15, 31]))
    def advance(self, days: float) -> None:
        self.shop.advance(days=days)
        self.buyer.back()

    @rule()
    def dispute(self) -> None:
        for charge in self.untouched_charges()[:1]:
            self.shop.stand_in.do("dispute", charge=charge.id)

    @rule()
    def refund(self) -> None:
        for charge in self.untouched_charges()[:1]:
            self.shop.stripe.v1.refunds.create({"charge": charge.id, "amount": 100})

    @rule(deliveries=DELIVERIES)
    def deliver(self, deliveries: dict[str, Any]) -> None:
        """Events that are held go on waiting, unless they are released first."""
        self.shop.stand_in.do("disturb", **{"held": False, "copies": 1, "lose": 0} | deliveries)

    @rule(order=strategies.sampled_from(["reversed", "shuffled"]))
    def release(self, order: str) -> None:
        self.shop.stand_in.do("release", order=order)
        self.shop.settle()

    def teardown(self) -> None:
        self.shop.stand_in.do("release", order="shuffled")
        self.deliver(LOST)
        self.refund()
        self.cancel_in_portal(is_canceling=True)
        self.deliver({})
        self.shop.settle()
        asyncio.run(self.reconcile())
        self.shop.settle()
        self.compare()
        self.shop.app.check_invariants()
        self.buyer.back().cancel("?cancelImmediately=true")
        self.shop.execute("UPDATE trial_uses SET card_hash = NULL")

    async def reconcile(self) -> None:
        async with process(self.shop) as services:
            await read_events(services)
            await look_at_live(services)

    def compare(self) -> None:
        self.buyer.assert_as_at_stripe()
        charges = self.charges()
        refunded = {charge.payment_intent: charge.amount_refunded for charge in charges}
        for invoice in self.buyer.invoices():
            back = sum(refunded[intent] for intent in self.intents(invoice.id))
            assert self.shop.value(REFUNDED, invoice.id) == back, invoice.id
        disputed = sum(charge.disputed for charge in charges)
        assert self.shop.value(DISPUTES, self.buyer.user_id) == disputed

    def subscriptions(self) -> list[Any]:
        return list(self.shop.stripe.v1.subscriptions.list({"customer": self.buyer.customer(), "status": "all"}).data)

    def charges(self) -> list[Any]:
        """Return the payments that succeeded."""
        charges = self.shop.stripe.v1.charges.list({"customer": self.buyer.customer(), "limit": 100}).data
        return [charge for charge in charges if charge.paid]

    def untouched_charges(self) -> list[Any]:
        return [charge for charge in self.charges() if not charge.disputed and not charge.amount_refunded]

    def intents(self, invoice_id: str) -> list[str]:
        paid = self.shop.stripe.v1.invoice_payments.list({"invoice": invoice_id, "status": "paid"}).data
        return [str(each.payment.payment_intent) for each in paid]


def test_both_sides_end_equal_whatever_happens(shop: Shop) -> None:
    machine = type("Machine", (LifeMachine,), {"shop": shop})

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=12,
            stateful_step_count=8,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],  # each example is paid for with seconds
        ),
    )
