"""What is measured of plans."""

from audifi.core.measures import Measure

REFUSALS = Measure(
    kind="counter",
    name="plan_refusals",
    documentation="Requests that the account's plan refused, by limit or feature.",
    labels=("key",),
)
LIVE = Measure(
    kind="gauge",
    name="subscriptions",
    documentation="Live subscriptions by plan and Stripe's status.",
    labels=("plan", "status"),
)
MEASURES = (REFUSALS, LIVE)
