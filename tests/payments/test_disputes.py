"""Disputes: the bank's money moves, an inquiry's doesn't, in whatever order the events come."""

from typing import Any
from uuid import UUID

import pytest

from tests.payments.shops import Shop
from tests.payments.test_reconciliation import drift
from tests.payments.test_refunds import deposit_of, refund
from tests.support.clients import Client


def debt(client: Client) -> int:
    accounts = client.as_signed_in("GET", "/ledger/accounts").json()["data"]
    return sum(account["balance"] for account in accounts if account["purpose"] == "debt")


def test_dispute_takes_the_money_and_won_returns_it(shop: Shop, fan: Client) -> None:
    deposit_id = deposit_of(shop, shop.deposited(fan))
    dispute = shop.dispute(deposit_id)
    assert shop.balance(fan) == 0
    shop.stand_in.do("end_dispute", dispute=dispute, outcome="won")
    shop.settle()
    assert shop.balance(fan) == 5000


def test_account_is_not_deleted_while_a_dispute_is_open(shop: Shop, fan: Client) -> None:
    dispute = shop.dispute(deposit_of(shop, shop.deposited(fan)))
    assert shop.balance(fan) == 0
    refused = fan.as_signed_in("DELETE", "/auth/me")
    assert refused.status_code == 409
    assert refused.json()["code"] == "account.not_empty"
    shop.stand_in.do("end_dispute", dispute=dispute, outcome="lost")
    shop.settle()
    assert fan.as_signed_in("DELETE", "/auth/me").status_code == 204


def test_dispute_of_refunded_money_becomes_debt(shop: Shop, fan: Client) -> None:
    deposit_id = deposit_of(shop, shop.deposited(fan))
    refund(fan, deposit_id, 2000)
    shop.dispute(deposit_id)
    assert (shop.balance(fan), debt(fan)) == (0, -2000)


def test_inquiry_moves_nothing_until_it_escalates(shop: Shop, fan: Client) -> None:
    dispute = shop.dispute(deposit_of(shop, shop.deposited(fan)), inquiry=True)
    assert shop.balance(fan) == 5000
    shop.stand_in.do("end_dispute", dispute=dispute, outcome="escalated")
    shop.settle()
    assert shop.balance(fan) == 0


def test_partial_dispute_takes_its_part(shop: Shop, fan: Client) -> None:
    shop.dispute(deposit_of(shop, shop.deposited(fan)), amount=1500)
    assert shop.balance(fan) == 3500


@pytest.mark.parametrize("order", ["as_created", "reversed", "shuffled"])
@pytest.mark.parametrize(("outcome", "left"), [("won", 5000), ("lost", 0)])
def test_order_of_events_does_not_matter(shop: Shop, fan: Client, order: str, outcome: str, left: int) -> None:
    deposit_id = deposit_of(shop, shop.deposited(fan))
    shop.stand_in.do("disturb", held=True, copies=2)
    dispute: Any = shop.stand_in.do("dispute", charge=shop.charge(deposit_id))
    shop.stand_in.do("end_dispute", dispute=dispute["id"], outcome=outcome)
    shop.stand_in.do("release", order=order)
    shop.settle()
    assert shop.balance(fan) == left


@pytest.mark.parametrize("outcome", ["won", "lost"])
def test_dispute_that_arrives_before_its_payment_is_booked(shop: Shop, fan: Client, outcome: str) -> None:
    checkout_id = shop.opened(fan)
    shop.stand_in.do("disturb", held=True)
    intent = shop.pay(checkout_id)["payment_intent"]
    charge = shop.stripe.v1.payment_intents.retrieve(intent).latest_charge
    dispute: Any = shop.stand_in.do("dispute", charge=charge)
    shop.stand_in.do("end_dispute", dispute=dispute["id"], outcome=outcome)
    shop.stand_in.do("release", order="reversed")
    shop.settle()
    assert shop.balance(fan) == (5000 if outcome == "won" else 0)
    statuses = [item["status"] for item in fan.as_signed_in("GET", "/payments/history").json()["data"]]
    assert outcome in statuses


def test_dispute_of_unknown_payment_is_an_alert(shop: Shop) -> None:
    price: Any = {"currency": "usd", "unit_amount": 700, "product_data": {"name": "At the console"}}
    session = shop.stripe.v1.checkout.sessions.create(
        {"mode": "payment", "line_items": [{"price_data": price, "quantity": 1}], "success_url": "https://app.example"}
    )
    before = {kind: drift(shop.app.services.metrics, kind) for kind in ("suspense", "refund")}
    paid = shop.stand_in.do("pay_checkout", session=session.id)
    shop.settle()
    charge = shop.stripe.v1.payment_intents.retrieve(paid["payment_intent"]).latest_charge
    shop.stand_in.do("dispute", charge=charge)
    refunded = shop.stripe.v1.disputes.list().data[0].id
    shop.stand_in.do("end_dispute", dispute=refunded, outcome="won")
    shop.settle()
    metrics = shop.app.services.metrics
    assert [drift(metrics, kind) > count for kind, count in before.items()] == [True, True]


def test_dispute_before_its_debit_has_arrived_is_booked(shop: Shop, fan: Client) -> None:
    user_id = UUID(fan.tokens["user"]["id"])
    shop.deposited(fan, 700, card="pm_sepa_succeeds")
    shop.stand_in.do("disturb", lose=1000)
    shop.advance(days=6)
    shop.stand_in.do("disturb")
    intent = shop.value("SELECT provider_ref FROM deposits WHERE user_id = $1", user_id)
    charge = shop.stripe.v1.payment_intents.retrieve(intent).latest_charge

    shop.stand_in.do("dispute", charge=charge)
    shop.settle()

    assert shop.value("SELECT status FROM deposits WHERE user_id = $1", user_id) == "disputed"
