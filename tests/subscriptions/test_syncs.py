"""What Stripe answers, as it is written: what is unknown, gone, late, lost, or not a plan's."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from audifi.core.db.retention import delete_expired
from audifi.core.email.sender import EmailError
from audifi.core.http.problems import Problem
from audifi.core.jobs.queue import PermanentJobError
from audifi.payments.client import RefusedError, Stripe
from audifi.payments.stripe_objects import Dispute, UnexpectedObjectError
from audifi.payments.syncs import SyncKind
from audifi.services import Services
from audifi.subscriptions import adjustments, changes, ends, invoices, jobs, notices, prices, syncs
from audifi.subscriptions.adjustments import RefundOfInvoice
from audifi.subscriptions.feature import FEATURE
from audifi.subscriptions.reconciliation import look_at_live
from tests.payments.processes import process
from tests.payments.shops import Shop
from tests.subscriptions.buying import Buyer, refusal
from tests.support.sendgrid import SendGrid


def act[T](shop: Shop, work: Callable[[Services], Awaitable[T]]) -> T:
    """Do something in another process of the shop."""

    async def run() -> T:
        async with process(shop) as services:
            return await work(services)

    return asyncio.run(run())


def write(shop: Shop, kind: SyncKind, id_: str, thing: Any) -> None:
    async def work(services: Services) -> None:
        async with services.database.transaction() as transaction:
            await kind.write(services, transaction, id_, thing)

    act(shop, work)


def price_id(shop: Shop, key: str = "pro_month_usd") -> str:
    return str(shop.value("SELECT price_id FROM plan_prices WHERE lookup_key = $1", key))


def subscribe_by_hand(buyer: Buyer, price: str) -> str:
    """Make a subscription at Stripe, of which no event arrives; return its id."""
    buyer.page()
    buyer.shop.stand_in.do("disturb", lose=1000)
    buyer.use_card("pm_card_visa")
    parameters: Any = {"customer": buyer.customer(), "items": [{"price": price}]}
    return buyer.shop.stripe.v1.subscriptions.create(parameters).id


def test_lost_subscription_is_found_at_night(buyer: Buyer) -> None:
    shop = buyer.shop
    Buyer(shop).subscribe(card="pm_card_mastercard")
    subscribe_by_hand(buyer, price_id(shop))
    assert buyer.state() == ("FREE", None)

    act(shop, lambda services: look_at_live(services, page_size=1))
    shop.settle()

    assert buyer.state() == ("PRO", "active")


def test_schedules_look_at_live_subscriptions(buyer: Buyer) -> None:
    subscribe_by_hand(buyer, price_id(buyer.shop))

    async def run(services: Services) -> None:
        for schedule in jobs.schedules(services):
            await schedule.run()

    act(buyer.shop, run)
    buyer.shop.settle()

    assert buyer.state() == ("PRO", "active")


def test_subscription_that_only_stripe_knows_is_not_doubled(buyer: Buyer) -> None:
    subscribe_by_hand(buyer, price_id(buyer.shop))

    assert refusal(buyer.start("ENTERPRISE")) == "409 subscription.exists"
    assert buyer.state() == ("PRO", "active")


def test_page_whose_subscription_has_ended_is_complete(buyer: Buyer) -> None:
    page = buyer.page()
    buyer.shop.stand_in.do("disturb", held=True)
    buyer.shop.pay(page)
    buyer.shop.stripe.v1.subscriptions.cancel(buyer.subscription().id)

    assert refusal(buyer.start("ENTERPRISE")) == "409 subscription.exists"
    assert buyer.start("ENTERPRISE").status_code == 201


def test_price_comes_with_its_subscription(shop: Shop, buyer: Buyer) -> None:
    shop.stand_in.do("disturb", lose=1000)
    product = shop.stripe.v1.products.create({"name": "Plan"})
    fields: Any = {"product": product.id, "currency": "usd", "unit_amount": 5, "lookup_key": "enterprise_year_usd"}
    price = shop.stripe.v1.prices.create(fields | {"recurring": {"interval": "year"}})
    id_ = subscribe_by_hand(buyer, price.id)

    write(shop, syncs.SYNC, id_, act(shop, lambda services: syncs.fetch(services, id_)))

    assert buyer.state() == ("ENTERPRISE", "active")
    write(shop, prices.SYNC, price.id, None)
    assert shop.value("SELECT active FROM plan_prices WHERE price_id = $1", price.id) is False
    buyer.cancel("?cancelImmediately=true")


def test_late_write_takes_no_lookup_key_for_good(shop: Shop) -> None:
    """The key moved to another price after this one was fetched."""
    fields: Any = {"product": shop.stripe.v1.products.create({"name": "Plan"}).id, "currency": "eur", "unit_amount": 7}
    fields |= {"recurring": {"interval": "month"}, "lookup_key": "pro_month_eur", "transfer_lookup_key": True}
    old = shop.stripe.v1.prices.create(fields).id
    fetched = act(shop, lambda services: prices.SYNC.fetch(services, old))
    new = shop.stripe.v1.prices.create(fields).id
    shop.settle()

    write(shop, prices.SYNC, old, fetched)
    write(shop, prices.SYNC, old, act(shop, lambda services: prices.SYNC.fetch(services, old)))
    shop.settle()

    assert price_id(shop, "pro_month_eur") == new


def test_price_that_is_no_plans_fails_loudly(shop: Shop, buyer: Buyer) -> None:
    product = shop.stripe.v1.products.create({"name": "Shirt of the month"})
    fields: Any = {"product": product.id, "currency": "usd", "unit_amount": 5}
    price = shop.stripe.v1.prices.create(fields | {"recurring": {"interval": "month"}})
    id_ = subscribe_by_hand(buyer, price.id)
    fetched = act(shop, lambda services: syncs.fetch(services, id_))

    with pytest.raises(UnexpectedObjectError):
        write(shop, syncs.SYNC, id_, fetched)
    shop.stripe.v1.subscriptions.cancel(id_)


def test_subscription_without_an_invoice_is_written(buyer: Buyer) -> None:
    id_ = subscribe_by_hand(buyer, price_id(buyer.shop))
    fetched = act(buyer.shop, lambda services: syncs.fetch(services, id_))
    assert fetched is not None
    bare = replace(fetched.subscription, latest_invoice=None, status="unpaid")

    write(buyer.shop, syncs.SYNC, id_, replace(fetched, subscription=bare))

    assert buyer.state() == ("FREE", "unpaid")
    assert act(buyer.shop, lambda services: syncs.fetch(services, "sub_unknown")) is None


def test_invoice_before_its_subscription_asks_for_it(buyer: Buyer) -> None:
    shop = buyer.shop
    subscribe_by_hand(buyer, price_id(shop))
    id_ = buyer.invoices()[0].id
    fetched: Any = act(shop, lambda services: invoices.SYNC.fetch(services, id_))

    for thing in (None, replace(fetched, subscription=None), fetched):
        write(shop, invoices.SYNC, id_, thing)
    shop.settle()

    assert buyer.state() == ("PRO", "active")


def test_refunds_that_move_nothing(buyer: Buyer) -> None:
    shop = buyer.shop
    buyer.subscribe_paid()
    paid = next(invoice.id for invoice in buyer.invoices() if invoice.amount_paid)

    def refund(status: str, invoice: str | None) -> RefundOfInvoice:
        return RefundOfInvoice(id="re_1", amount=1, status=status, invoice=invoice)

    for kind in (adjustments.REFUND_SYNC, adjustments.DISPUTE_SYNC):
        assert act(shop, lambda services, kind=kind: kind.fetch(services, "unknown")) is None  # type: ignore[misc]
        write(shop, kind, "unknown", None)
    for thing in (refund("pending", paid), refund("failed", paid), refund("succeeded", None)):
        write(shop, adjustments.REFUND_SYNC, "re_1", thing)
    with pytest.raises(LookupError):  # tried again: the invoice isn't here yet
        write(shop, adjustments.REFUND_SYNC, "re_1", refund("succeeded", "in_unknown"))

    assert shop.value("SELECT count(*) FROM invoice_adjustments WHERE provider_id = 're_1'") == 0


def test_dispute_that_moves_nothing(buyer: Buyer) -> None:
    shop = buyer.shop
    buyer.subscribe_paid()
    paid = next(invoice.id for invoice in buyer.invoices() if invoice.amount_paid)
    dispute: Any = Dispute(
        id="dp_1",
        status="warning_needs_response",
        payment_intent="pi_1",
        currency="USD",
        withdrawn=0,
        reinstated=0,
        due_by=None,
    )

    for invoice in (paid, None):
        thing = adjustments.DisputeOfInvoice(dispute=dispute, invoice=invoice)
        write(shop, adjustments.DISPUTE_SYNC, "dp_1", thing)

    assert buyer.state() == ("PRO", "active")


def test_subscription_ends_once(buyer: Buyer) -> None:
    buyer.subscribe()
    id_ = buyer.subscription().id

    class Refusing(Stripe):
        async def call(self, name: str, call: Any) -> Any:  # noqa: ARG002 - the client's signature
            raise RefusedError(name, status=400, code="other")

    async def work(services: Services) -> None:
        with pytest.raises(RefusedError):
            await ends.end_now(replace(services, stripe=Refusing(services.settings)), id_)
        for _ in range(2):
            await ends.end_now(services, id_)

    act(buyer.shop, work)
    buyer.shop.settle()

    assert buyer.state() == ("FREE", "canceled")


def test_change_that_stripe_refuses_is_a_conflict(buyer: Buyer) -> None:
    """Somebody has put the subscription under a schedule, which decides about its end."""
    buyer.subscribe_paid()
    buyer.cancel()
    buyer.shop.stripe.v1.subscription_schedules.create({"from_subscription": buyer.subscription().id})

    assert refusal(buyer.reactivate()) == "409 subscription.transition_refused"


def test_preview_of_what_ends_meanwhile_is_a_conflict(buyer: Buyer) -> None:
    buyer.subscribe_paid()
    subscription = buyer.subscription().id

    class Late(Stripe):
        async def call(self, name: str, call: Any) -> Any:
            if name == "invoice_preview":
                await super().call("subscription_cancel", lambda v1: v1.subscriptions.cancel_async(subscription))
            return await super().call(name, call)

    async def work(services: Services) -> None:
        late = replace(services, stripe=Late(services.settings))
        with pytest.raises(Problem) as raised:
            await changes.preview(
                late, user_id=buyer.user_id, plan="ENTERPRISE", interval="month", now=services.clock()
            )
        await late.stripe.close()
        assert raised.value.code == "subscription.transition_refused"

    act(buyer.shop, work)
    assert buyer.state() == ("FREE", "canceled")


def test_plan_that_is_not_sold_cannot_be_changed_to(buyer: Buyer) -> None:
    buyer.subscribe_paid()

    assert refusal(buyer.change("ENTERPRISE", "year")) == "422 request.invalid"
    assert timedelta(minutes=10) == changes.PREVIEW_LASTS


@pytest.mark.parametrize(("status", "error"), [(500, EmailError), (400, PermanentJobError)])
def test_mail_that_fails_is_tried_again_if_it_helps(
    shop: Shop, sendgrid: SendGrid, status: int, error: type[Exception]
) -> None:
    buyer = Buyer(shop)
    sendgrid.status = status

    async def work(services: Services) -> None:
        await notices.emails(services).handler(f"canceled {buyer.user_id} {uuid4()}".encode())

    with pytest.raises(error):
        act(shop, work)
    sendgrid.status = 202


def test_old_notices_alone_are_deleted(buyer: Buyer) -> None:
    shop = buyer.shop
    for days in (399, 401):
        shop.execute(
            "INSERT INTO billing_notices (id, kind, user_id, created_at) VALUES"
            f" ('{uuid4()}', 'canceled', '{buyer.user_id}', '{shop.app.clock() - timedelta(days=days)}')"
        )

    act(shop, lambda services: delete_expired(services.background_database, FEATURE.retention(services.clock())))

    assert buyer.mails() == ["canceled"]
