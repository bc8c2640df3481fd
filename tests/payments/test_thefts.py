"""A cent for nothing: what a thief tries with deposits, refunds, disputes and payouts, over HTTP."""

from functools import partial
from uuid import uuid4

import pytest

from tests.ipos.offerings import Offering, approved_master, code
from tests.payments.shops import Shop
from tests.payments.test_disputes import debt
from tests.payments.test_payouts import pay_out, payable
from tests.payments.test_refunds import deposit_of, refund, refunded_at_stripe
from tests.subscriptions.accounts import with_plan
from tests.support.clients import Client, at_once


@pytest.fixture
def offering(shop: Shop) -> Offering:
    """Shares at 2.50 that everybody may buy."""
    artist = with_plan(shop.app.database_url, shop.fan())
    master_id = approved_master(shop.app, artist)
    offering = Offering(app=shop.app, sendgrid=shop.sendgrid, artist=artist, master_id=master_id)
    offering.open()
    return offering


def test_refund_and_purchase_at_once_spend_once(shop: Shop, fan: Client, offering: Offering) -> None:
    deposit_id = deposit_of(shop, shop.deposited(fan))
    answers = at_once([partial(refund, fan, deposit_id, 5000), partial(offering.buy, fan, 20)])
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    shop.settle()
    assert (shop.balance(fan), debt(fan)) == (0, 0)
    assert refunded_at_stripe(shop, deposit_id) == (5000 if answers[0].status_code == 201 else 0)


def test_dispute_of_spent_money_is_debt_until_it_is_won(shop: Shop, fan: Client, offering: Offering) -> None:
    deposit_id = deposit_of(shop, shop.deposited(fan))
    assert offering.buy(fan, 20).status_code == 201
    dispute = shop.dispute(deposit_id)
    assert (shop.balance(fan), debt(fan)) == (0, -5000)
    other = deposit_of(shop, shop.deposited(fan, 2000))
    assert (shop.balance(fan), debt(fan)) == (0, -3000)
    assert code(refund(fan, other, 2000)) == "403 account.in_debt"
    assert code(offering.buy(fan, 1)) == "403 account.in_debt"
    shop.stand_in.do("end_dispute", dispute=dispute, outcome="won")
    shop.settle()
    assert (shop.balance(fan), debt(fan)) == (2000, 0)


def test_key_of_a_refund_is_of_its_deposit_alone(shop: Shop, fan: Client) -> None:
    first, second = (deposit_of(shop, shop.deposited(fan, amount)) for amount in (5000, 6000))
    key = str(uuid4())
    assert refund(fan, first, 1000, key=key).status_code == 201
    assert refund(fan, second, 1000, key=key).status_code == 422
    assert refund(fan, first, 1001, key=key).status_code == 422
    shop.settle()
    assert [refunded_at_stripe(shop, each) for each in (first, second)] == [1000, 0]


def test_money_that_comes_back_to_a_card_stays_card_money(shop: Shop) -> None:
    artist = payable(shop)
    returned = deposit_of(shop, shop.deposited(artist, 3000, "pm_card_refundFail"))
    disputed = deposit_of(shop, shop.deposited(artist, 2000))
    assert refund(artist, returned, 3000).status_code == 201
    dispute = shop.dispute(disputed)
    shop.stand_in.do("end_dispute", dispute=dispute, outcome="won")
    shop.advance(days=6)
    artist = shop.again(artist)
    assert shop.balance(artist) == 10_000
    assert pay_out(artist, 5001).json()["held"] == 5000
    assert pay_out(artist, 5000).status_code == 201
