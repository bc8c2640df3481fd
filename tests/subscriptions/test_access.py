"""Until when a plan is in force, without HTTP."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from audifi.subscriptions.access import access_until, past_due_since
from audifi.subscriptions.models import SubscriptionStatus
from audifi.subscriptions.stripe_objects import StripeInvoice, StripeSubscription, parse_lookup_key
from audifi.subscriptions.stripe_objects import subscription as read_subscription

START, END = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 20, tzinfo=UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Known:
    status: SubscriptionStatus
    access_until: datetime


def stripe(status: str, **fields: Any) -> StripeSubscription:
    price = {"id": "price_1", "lookup_key": "pro_month_usd", "currency": "usd", "unit_amount": 1, "active": True}
    period = {"current_period_start": int(START.timestamp()), "current_period_end": int(END.timestamp())}
    nothing = dict.fromkeys(
        (
            "trial_end",
            "canceled_at",
            "ended_at",
            "schedule",
            "pending_update",
            "latest_invoice",
            "default_payment_method",
        )
    )
    return read_subscription(
        {
            "id": "sub_1",
            "customer": "cus_1",
            "status": status,
            "items": {"data": [{"id": "si_1", "price": price, **period}]},
            "cancel_at_period_end": False,
            **nothing,
            **fields,
        }
    )


def invoice(finalized_at: datetime, *, is_cycle: bool = True) -> StripeInvoice:
    zeros = dict.fromkeys(("subtotal", "tax", "total", "due", "paid", "attempts"), 0)
    return StripeInvoice(
        id="in_1",
        customer="cus_1",
        subscription="sub_1",
        number=None,
        status="open",
        currency="USD",
        is_cycle=is_cycle,
        period_start=START,
        period_end=END,
        finalized_at=finalized_at,
        paid_at=None,
        hosted_url=None,
        **zeros,
    )


def until(subscription: StripeSubscription, open_invoice: Any = None, known: Any = None, grace: int = 7) -> datetime:
    return access_until(subscription, open_invoice=open_invoice, grace=timedelta(days=grace), known=known, now=NOW)


@pytest.mark.parametrize(
    ("subscription", "expected"),
    [
        (stripe("active"), END + 3 * DAY),
        (stripe("trialing"), END + 3 * DAY),
        (stripe("active", cancel_at_period_end=True), END),
        (stripe("a_new_one"), NOW + 3 * DAY),
        *((stripe(status), NOW) for status in ("incomplete", "incomplete_expired", "unpaid", "paused", "canceled")),
    ],
)
def test_access_depends_on_the_status(subscription: StripeSubscription, expected: datetime) -> None:
    assert until(subscription) == expected


def test_grace_begins_when_the_invoice_was_finalized() -> None:
    late = stripe("past_due")

    assert until(late, invoice(START + DAY)) == START + 8 * DAY
    assert until(late) == START + 7 * DAY
    assert until(late, invoice(START + DAY, is_cycle=False)) == END  # the period was paid
    assert until(late, invoice(START - 9 * DAY), grace=0) == START
    assert past_due_since(late, invoice(START + DAY)) == START + DAY
    assert past_due_since(stripe("active"), invoice(START)) is None


def test_access_that_has_ended_is_not_extended() -> None:
    ended = Known("canceled", NOW - DAY)

    assert until(stripe("canceled"), known=ended) == NOW - DAY
    assert until(stripe("a_new_one"), known=Known("unknown", NOW + DAY)) == NOW + DAY
    assert until(stripe("a_new_one"), known=ended) == NOW + 3 * DAY
    assert until(stripe("unpaid"), known=Known("active", NOW + DAY)) == NOW


def test_lookup_key_names_plan_and_interval() -> None:
    assert parse_lookup_key("enterprise_year_eur") == ("ENTERPRISE", "year")
    for key in (None, "gold_month_usd", "pro_week_usd"):
        assert parse_lookup_key(key) is None
