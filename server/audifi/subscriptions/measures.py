"""Metrics of plans."""

from audifi.core.measures import Measure
from audifi.subscriptions.plans import LIMIT_KEYS, PLANS

REFUSALS = Measure(
    kind="counter",
    name="plan_refusals",
    documentation="Requests that the account's plan refused, by limit or feature.",
    labels=("key",),
    known=tuple((key,) for key in LIMIT_KEYS),
)
LIVE = Measure(
    kind="gauge",
    name="subscriptions",
    documentation="Live subscriptions by plan and Stripe's status.",
    labels=("plan", "status"),
    known=tuple((plan, "active") for plan in PLANS if plan != "FREE"),
)
MEASURES = (REFUSALS, LIVE)
