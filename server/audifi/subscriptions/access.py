"""Until when a plan is in force. It is computed at each sync, and nothing else ends a plan."""

from datetime import datetime, timedelta
from typing import Protocol

from audifi.subscriptions.models import SubscriptionStatus
from audifi.subscriptions.stripe_objects import StripeInvoice, StripeSubscription

RENEWAL_MARGIN = timedelta(days=3)
"""Stripe charges about an hour after a renewal, and events may be late: payers must not be locked out."""
UNKNOWN_STATUS = timedelta(days=3)


class Known(Protocol):
    """What the last sync has written."""

    @property
    def status(self) -> SubscriptionStatus: ...

    @property
    def access_until(self) -> datetime: ...


def past_due_since(subscription: StripeSubscription, open_invoice: StripeInvoice | None) -> datetime | None:
    """Return when the open invoice was finalized: a late event doesn't lengthen the grace."""
    if subscription.status != "past_due":
        return None
    return (open_invoice and open_invoice.finalized_at) or subscription.period_start


def access_until(
    subscription: StripeSubscription,
    *,
    open_invoice: StripeInvoice | None,
    grace: timedelta,
    known: Known | None,
    now: datetime,
) -> datetime:
    """
    Args:
        subscription: as Stripe has it.
        open_invoice: the oldest one that is finalized and not paid, of a subscription that is past due.
        grace: how long an invoice may be open.
        known: the last answer.
        now: the instant.
    """
    match subscription.status:
        case "active" | "trialing" if subscription.cancel_at_period_end:
            return subscription.period_end
        case "active" | "trialing":
            return subscription.period_end + RENEWAL_MARGIN
        case "past_due":
            since = past_due_since(subscription, open_invoice)
            assert since is not None  # noqa: S101 - of this status
            is_renewal = open_invoice is None or open_invoice.is_cycle
            return max(since + grace, subscription.period_start if is_renewal else subscription.period_end)
        case "unknown":
            return known.access_until if known and known.status == "unknown" else now + UNKNOWN_STATUS
        case _:
            return min(known.access_until, now) if known else now
