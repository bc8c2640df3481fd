"""Prices of plans: kept in step with Stripe, and brought by an operator's command."""

from typing import Any

from typer.testing import CliRunner

from audifi.cli import app as console
from tests.payments.shops import KEY, Shop
from tests.subscriptions.buying import MONTH, Buyer
from tests.support.api import MINIMAL

OF_KEY = "SELECT price_id || ' ' || unit_amount FROM plan_prices WHERE lookup_key = 'pro_month_usd' AND active"


def raise_price(shop: Shop, amount: int) -> str:
    """Let another price have the lookup key; return its id."""
    old = shop.stripe.v1.prices.list({"lookup_keys": ["pro_month_usd"]}).data[0]
    fields: Any = {"product": old.product, "currency": "usd", "unit_amount": amount, "lookup_key": "pro_month_usd"}
    recurring: Any = {"recurring": {"interval": "month"}, "transfer_lookup_key": True}
    return shop.stripe.v1.prices.create(fields | recurring).id


def sync_prices(shop: Shop, **changes: str) -> str:
    variables = MINIMAL | {
        "DATABASE_URL": shop.app.database_url,
        "ENVIRONMENT": "development",
        "PAYMENTS": "stand_in",
        "STRIPE_SECRET_KEY": KEY,
        "STRIPE_WEBHOOK_SECRET": "whsec_1",
        "STRIPE_API_BASE": shop.stand_in.url,
        "FORCE_COLOR": None,
    }
    result = CliRunner().invoke(console, ["subscriptions", "sync-prices"], env=variables | changes)
    return f"{result.stdout}{result.stderr}"


def test_new_price_is_sold_and_the_old_one_kept(shop: Shop, buyer: Buyer) -> None:
    buyer.subscribe_paid()
    old = buyer.column("price_id")
    new = raise_price(shop, 3900)
    shop.settle()

    assert shop.value(OF_KEY) == f"{new} 3900"
    assert buyer.start(expected_amount=MONTH).status_code == 409
    shop.advance(days=31.1)
    assert buyer.back().column("price_id") == old
    assert buyer.get()["subscription"]["unit_amount"] == MONTH
    assert buyer.paid() == 2 * MONTH
    restored = raise_price(shop, MONTH)
    shop.settle()
    assert shop.value(OF_KEY) == f"{restored} {MONTH}"


def test_operator_brings_the_prices(shop: Shop) -> None:
    shop.stand_in.do("disturb", lose=100)
    raise_price(shop, 4100)

    shown = sync_prices(shop)

    assert "pro_month_usd" in shown
    assert "4100" in shown
    assert str(shop.value(OF_KEY)).endswith(" 4100")
    shop.stand_in.do("disturb")
    raise_price(shop, MONTH)
    shop.settle()
    nowhere = "postgresql://kim@localhost:1/nowhere"  # Stripe is asked before a transaction begins
    assert "503 payments.not_configured" in sync_prices(shop, PAYMENTS="off", DATABASE_URL=nowhere)
    assert "STRIPE_SECRET_KEY" in sync_prices(shop, STRIPE_SECRET_KEY="")


def test_price_that_is_gone_is_not_sold(shop: Shop) -> None:
    product = shop.stripe.v1.products.create({"name": "Plan"})
    fields: Any = {"product": product.id, "currency": "eur", "unit_amount": 1, "lookup_key": "pro_year_eur"}
    made = shop.stripe.v1.prices.create(fields | {"recurring": {"interval": "year"}})
    shop.settle()
    is_sold = "SELECT active FROM plan_prices WHERE price_id = $1"
    assert shop.value(is_sold, made.id) is True

    shop.stripe.v1.prices.update(made.id, {"active": False, "lookup_key": ""})
    shop.settle()

    assert shop.value(is_sold, made.id) is False
