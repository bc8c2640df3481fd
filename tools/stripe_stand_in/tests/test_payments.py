"""Checkout for payments, refunds, disputes and the balance."""

from typing import Any

import pytest
import stripe

from tools.stripe_stand_in.balance import fee_of
from tools.stripe_stand_in.server import CommandError
from tools.stripe_stand_in.tests.shop import Shop

pytestmark = pytest.mark.timeout(60)
FEE = 175  # of 50.00: 2.9 % and 30 cents


def transactions(shop: Shop) -> list[tuple[str, int, int]]:
    """Return type, amount and fee of all balance transactions, oldest first."""
    listed = shop.v1.balance_transactions.list({"limit": 100}).data
    return [(each.reporting_category, each.amount, each.fee) for each in reversed(listed)]


def money(shop: Shop) -> tuple[int, int]:
    """Return what is available, and what is pending."""
    balance = shop.v1.balance.retrieve()
    return balance.available[0].amount, balance.pending[0].amount


@pytest.mark.parametrize(("amount", "fee"), [(0, 30), (50, 31), (5000, 175), (1_000_000, 29_030), (17, 30), (18, 31)])
def test_fee_is_rounded_half_up(amount: int, fee: int) -> None:
    assert fee_of(amount) == fee


def test_checkout_is_paid(shop: Shop) -> None:
    customer = shop.customer()
    data = {"metadata": {"audifi_id": "d1"}, "transfer_group": "d1"}
    session = shop.checkout(customer=customer.id, client_reference_id="d1", payment_intent_data=data)
    assert (session.status, session.payment_status, session.amount_total) == ("open", "unpaid", 5000)
    assert session.url.startswith(f"{shop.stand_in.url}/pay/cs_test_")

    shop.pay(session)
    after = shop.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent.latest_charge"]})
    assert (after.status, after.payment_status, after.url) == ("complete", "paid", None)
    assert after.payment_intent.metadata.to_dict() == {"audifi_id": "d1"}
    assert after.payment_intent.latest_charge.transfer_group == "d1"
    assert after.customer_details.email == "ann@example.com"
    expected = "payment_intent.created charge.succeeded payment_intent.succeeded checkout.session.completed"
    assert shop.events()[-4:] == expected.split()
    assert transactions(shop) == [("charge", 5000, FEE)]


def test_card_money_is_available_after_two_days(shop: Shop) -> None:
    shop.charge()
    assert money(shop) == (0, 5000 - FEE)

    shop.stand_in.advance(days=2)
    assert money(shop) == (5000 - FEE, 0)


def test_one_test_card_is_available_at_once(shop: Shop) -> None:
    shop.charge("pm_card_bypassPending")

    assert money(shop) == (5000 - FEE, 0)


def test_declined_checkout_stays_open(shop: Shop) -> None:
    session = shop.checkout()
    declined = shop.pay(session, "pm_card_visa_chargeDeclinedInsufficientFunds")
    assert declined["status"] == "open"
    intent = shop.v1.payment_intents.retrieve(declined["payment_intent"])
    assert intent.status == "requires_payment_method"
    assert intent.last_payment_error.decline_code == "insufficient_funds"

    assert shop.pay(session)["payment_intent"] == intent.id
    assert [each.status for each in shop.v1.charges.list({"payment_intent": intent.id}).data] == ["succeeded", "failed"]
    assert "payment_intent.payment_failed" in shop.events()


def test_checkout_asks_for_authentication(shop: Shop) -> None:
    session = shop.checkout()
    waiting = shop.pay(session, "pm_card_authenticationRequired")
    assert shop.v1.payment_intents.retrieve(waiting["payment_intent"]).status == "requires_action"

    assert shop.pay(session, "pm_card_authenticationRequired", authenticated=True)["payment_status"] == "paid"


def test_same_card_has_the_same_fingerprint(shop: Shop) -> None:
    charges = [
        shop.v1.charges.retrieve(shop.charge(card)) for card in ("pm_card_visa", "pm_card_visa", "pm_card_mastercard")
    ]
    first, second, other = [charge.payment_method_details.card.fingerprint for charge in charges]

    assert first == second != other


@pytest.mark.parametrize(("card", "end"), [("pm_sepa_succeeds", "succeeded"), ("pm_sepa_fails", "failed")])
def test_debit_ends_days_after_checkout(shop: Shop, card: str, end: str) -> None:
    session = shop.checkout()
    completed = shop.pay(session, card)
    assert (completed["status"], completed["payment_status"]) == ("complete", "unpaid")
    assert transactions(shop) == []

    shop.stand_in.advance(days=5)
    paid = end == "succeeded"
    assert shop.v1.checkout.sessions.retrieve(session.id).payment_status == ("paid" if paid else "unpaid")
    assert len(transactions(shop)) == int(paid)
    assert shop.events()[-1] == f"checkout.session.async_payment_{end}"


def test_checkout_expires_after_its_time(shop: Shop) -> None:
    session = shop.checkout(expires_at=shop.stand_in.now + 1800)
    shop.stand_in.advance(seconds=1799)
    assert shop.v1.checkout.sessions.retrieve(session.id).status == "open"

    shop.stand_in.advance(seconds=1)
    assert shop.v1.checkout.sessions.retrieve(session.id).status == "expired"
    assert shop.events()[-1] == "checkout.session.expired"
    with pytest.raises(CommandError, match="expired"):
        shop.pay(session)


def test_checkout_is_expired_on_request(shop: Shop) -> None:
    session = shop.checkout()
    shop.pay(session, "pm_card_visa_chargeDeclined")
    assert shop.v1.checkout.sessions.expire(session.id).status == "expired"
    assert shop.events()[-2:] == ["payment_intent.canceled", "checkout.session.expired"]

    with pytest.raises(stripe.InvalidRequestError, match="this one is expired"):
        shop.v1.checkout.sessions.expire(session.id)


@pytest.mark.parametrize("seconds", [1799, 86_401])
def test_checkout_refuses_other_expiries(shop: Shop, seconds: int) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        shop.checkout(expires_at=shop.stand_in.now + seconds)
    assert refusal.value.param == "expires_at"


def test_checkout_refuses_what_isnt_modelled(shop: Shop) -> None:
    recurring = [{"price": shop.prices["pro_month_usd"]}]
    wrong: list[dict[str, Any]] = [
        {"line_items": recurring},
        {"line_items": []},
        {"mode": "subscription"},
        {"mode": "setup"},
        {"allow_promotion_codes": True},
    ]
    for params in wrong:
        with pytest.raises(stripe.InvalidRequestError):
            shop.checkout(**params)
    shop.v1.prices.update(shop.prices["pro_month_usd"], {"active": False})
    with pytest.raises(stripe.InvalidRequestError, match="inactive"):
        shop.checkout(mode="subscription", line_items=recurring)


def test_sessions_are_found_again(shop: Shop) -> None:
    customer = shop.customer()
    session = shop.checkout(customer=customer.id, metadata={"audifi_id": "c1"})
    shop.checkout()
    paid = shop.pay(session)

    assert [each.id for each in shop.v1.checkout.sessions.list({"customer": customer.id}).data] == [session.id]
    by_intent = shop.v1.checkout.sessions.list({"payment_intent": paid["payment_intent"], "status": "complete"})
    assert [each.metadata.audifi_id for each in by_intent.data] == ["c1"]
    assert shop.v1.checkout.sessions.line_items.list(session.id).data[0].description == "Deposit"
    assert shop.v1.checkout.sessions.update(session.id, {"metadata": {"b": "2"}}).metadata.b == "2"


def test_payment_intent_is_canceled(shop: Shop) -> None:
    session = shop.checkout()
    intent = shop.pay(session, "pm_card_visa_chargeDeclined")["payment_intent"]
    assert shop.v1.payment_intents.cancel(intent).status == "canceled"

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        shop.v1.payment_intents.cancel(intent)
    assert refusal.value.code == "payment_intent_unexpected_state"


def test_refunds_are_at_most_the_charge(shop: Shop) -> None:
    charge = shop.charge()
    intent = shop.v1.charges.retrieve(charge).payment_intent
    part = shop.v1.refunds.create({"payment_intent": intent, "amount": 2000, "metadata": {"audifi_id": "r1"}})
    assert (part.status, part.amount) == ("succeeded", 2000)
    with pytest.raises(stripe.InvalidRequestError, match=r"greater than unrefunded amount on charge \(3000\)"):
        shop.v1.refunds.create({"charge": charge, "amount": 3001})

    assert shop.v1.refunds.create({"charge": charge, "reason": "requested_by_customer"}).amount == 3000
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        shop.v1.refunds.create({"charge": charge})
    assert refusal.value.code == "charge_already_refunded"
    after = shop.v1.charges.retrieve(charge, {"expand": ["refunds"]})
    assert (after.refunded, after.amount_refunded, len(after.refunds.data)) == (True, 5000, 2)
    assert transactions(shop) == [("charge", 5000, FEE), ("refund", -2000, 0), ("refund", -3000, 0)]
    assert shop.events()[-2:] == ["refund.created", "charge.refunded"]


def test_refund_needs_a_paid_charge(shop: Shop) -> None:
    intent = shop.pay(shop.checkout(), "pm_card_visa_chargeDeclined")["payment_intent"]
    failed = shop.v1.payment_intents.retrieve(intent).latest_charge
    unpaid = shop.v1.subscriptions.create(
        {"customer": shop.customer().id, "items": [{"price": shop.prices["pro_month_usd"]}]}
    )
    uncharged = shop.v1.invoice_payments.list({"invoice": unpaid.latest_invoice}).data[0].payment.payment_intent
    for params in ({"charge": failed}, {"payment_intent": uncharged}, {}):
        with pytest.raises(stripe.InvalidRequestError):
            shop.v1.refunds.create(params)


def test_pending_refund_succeeds_later(shop: Shop) -> None:
    refund = shop.v1.refunds.create({"charge": shop.charge("pm_card_pendingRefund")})
    assert refund.status == "pending"

    shop.stand_in.advance(days=5)
    assert shop.v1.refunds.retrieve(refund.id).status == "succeeded"
    assert shop.events()[-1] == "refund.updated"


@pytest.mark.parametrize("card", ["pm_card_refundFail", "pm_card_visa"])
def test_succeeded_refund_fails_later(shop: Shop, card: str) -> None:
    refund = shop.v1.refunds.create({"charge": shop.charge(card)})
    assert refund.status == "succeeded"

    shop.stand_in.advance(days=5)
    if card == "pm_card_visa":
        shop.stand_in.do("fail_refund", refund=refund.id)
    shop.stand_in.do("fail_refund", refund=refund.id)  # once is enough
    failed = shop.v1.refunds.retrieve(refund.id)
    assert (failed.status, failed.failure_reason) == ("failed", "lost_or_stolen_card")
    assert shop.v1.charges.retrieve(refund.charge).amount_refunded == 0
    assert transactions(shop)[1:] == [("refund", -5000, 0), ("refund_failure", 5000, 0)]
    assert shop.events()[-2:] == ["refund.updated", "refund.failed"]


def test_refund_keeps_metadata(shop: Shop) -> None:
    refund = shop.v1.refunds.create({"charge": shop.charge(), "metadata": {"a": "1"}})

    assert shop.v1.refunds.update(refund.id, {"metadata": {"b": "2"}}).metadata.to_dict() == {"a": "1", "b": "2"}
    assert [each.id for each in shop.v1.refunds.list({"charge": refund.charge}).data] == [refund.id]


def test_dispute_withdraws_the_money(shop: Shop) -> None:
    charge = shop.charge("pm_card_createDispute")
    dispute = shop.v1.disputes.list({"charge": charge}).data[0]
    assert (dispute.status, dispute.amount) == ("needs_response", 5000)
    assert dispute.evidence_details.due_by > shop.stand_in.now
    assert [(each.amount, each.fee) for each in dispute.balance_transactions] == [(-5000, 1500)]

    with pytest.raises(stripe.InvalidRequestError) as refusal:
        shop.v1.refunds.create({"charge": charge})
    assert refusal.value.code == "charge_disputed"
    assert shop.events()[-2:] == ["charge.dispute.created", "charge.dispute.funds_withdrawn"]


@pytest.mark.parametrize("evidence", ["winning_evidence", "losing_evidence"])
def test_evidence_decides_a_dispute(shop: Shop, evidence: str) -> None:
    dispute = shop.stand_in.do("dispute", charge=shop.charge(), amount=4000)
    ended = shop.v1.disputes.update(dispute["id"], {"evidence": {"uncategorized_text": evidence}, "submit": True})

    won = evidence == "winning_evidence"
    assert ended.status == ("won" if won else "lost")
    assert sum(each.amount for each in ended.balance_transactions) == (0 if won else -4000)
    assert ("charge.dispute.funds_reinstated" in shop.events()) == won
    assert shop.events()[-1] == "charge.dispute.closed"
    with pytest.raises(CommandError, match="already closed"):
        shop.stand_in.do("end_dispute", dispute=dispute["id"], outcome="won")


def test_dispute_is_accepted(shop: Shop) -> None:
    dispute = shop.stand_in.do("dispute", charge=shop.charge())

    assert shop.v1.disputes.close(dispute["id"]).status == "lost"


def test_dispute_is_won_after_review(shop: Shop) -> None:
    dispute = shop.stand_in.do("dispute", charge=shop.charge())
    reviewed = shop.v1.disputes.update(dispute["id"], {"evidence": {"uncategorized_text": "…"}, "submit": True})
    assert reviewed.status == "under_review"

    assert shop.stand_in.do("end_dispute", dispute=dispute["id"], outcome="won")["status"] == "won"


def test_inquiry_moves_no_money(shop: Shop) -> None:
    charge = shop.charge("pm_card_createDisputeInquiry")
    dispute = shop.v1.disputes.list({"charge": charge}).data[0]
    assert (dispute.status, dispute.balance_transactions) == ("warning_needs_response", [])
    assert shop.v1.disputes.close(dispute.id).status == "warning_closed"

    assert shop.v1.refunds.create({"charge": charge}).status == "succeeded"


def test_inquiry_becomes_a_dispute(shop: Shop) -> None:
    dispute = shop.stand_in.do("dispute", charge=shop.charge(), inquiry=True)
    shop.stand_in.do("end_dispute", dispute=dispute["id"], outcome="escalated")

    after = shop.v1.disputes.retrieve(dispute["id"])
    assert (after.status, len(after.balance_transactions)) == ("needs_response", 1)
    for outcome in ("escalated", "forgotten"):
        with pytest.raises(CommandError):
            shop.stand_in.do("end_dispute", dispute=dispute["id"], outcome=outcome)


def test_balance_is_the_sum_of_its_transactions(shop: Shop) -> None:
    charge = shop.charge()
    shop.v1.refunds.create({"charge": charge, "amount": 1000})
    shop.charge("pm_card_createDispute")
    shop.stand_in.advance(days=2)

    listed = shop.v1.balance_transactions.list({"limit": 100}).data
    assert sum(money(shop)) == sum(each.net for each in listed)
    assert shop.v1.balance_transactions.list({"source": charge}).data[0].net == 5000 - FEE
