"""Deposits by card and by debit: credited once, if they are paid, whatever becomes of the events."""

from uuid import UUID, uuid4

import pytest

from tests.payments.shops import Shop
from tests.support.clients import Client


def test_paid_deposit_is_credited_once(shop: Shop, fan: Client) -> None:
    before = shop.external()
    shop.stand_in.do("disturb", copies=3)
    checkout_id = shop.deposited(fan)
    assert shop.sync(fan, checkout_id).json()["status"] == "complete"
    assert (shop.balance(fan), shop.external() - before) == (5000, 5000)


def test_returning_page_credits_before_any_event(shop: Shop, fan: Client) -> None:
    checkout_id = shop.opened(fan)
    shop.stand_in.do("disturb", held=True)
    shop.pay(checkout_id)
    assert shop.balance(fan) == 0
    assert shop.sync(fan, checkout_id).json()["url"] is None
    assert shop.balance(fan) == 5000


def test_declined_card_leaves_the_page_open(shop: Shop, fan: Client) -> None:
    checkout_id = shop.opened(fan)
    shop.pay(checkout_id, "pm_card_chargeCustomerFail")
    assert shop.sync(fan, checkout_id).json()["status"] == "open"
    assert shop.balance(fan) == 0


def test_page_expires_uncharged(shop: Shop, fan: Client) -> None:
    checkout_id = shop.opened(fan)
    shop.advance(hours=1)
    assert shop.value("SELECT status FROM checkouts WHERE id = $1", UUID(checkout_id)) == "expired"


@pytest.mark.parametrize(
    ("card", "status", "credited"),
    [
        ("pm_sepa_succeeds", "succeeded", 5000),
        ("pm_sepa_fails", "failed", 0),
    ],
)
def test_debit_is_credited_when_it_is_paid(shop: Shop, fan: Client, card: str, status: str, credited: int) -> None:
    checkout_id = shop.deposited(fan, card=card)
    of_fan = "SELECT d.status FROM deposits AS d JOIN checkouts AS c USING (user_id) WHERE c.id = $1"
    assert shop.value(of_fan, UUID(checkout_id)) == "pending"
    assert shop.balance(fan) == 0
    shop.advance(days=6)
    assert shop.value(of_fan, UUID(checkout_id)) == status
    assert shop.balance(shop.again(fan)) == credited


def test_retry_with_the_same_key_returns_the_same_page(shop: Shop, fan: Client) -> None:
    key = str(uuid4())
    first, second = (shop.deposit(fan, key=key) for _ in range(2))
    assert first.json() == second.json()
    assert second.headers["Idempotent-Replayed"] == "true"
