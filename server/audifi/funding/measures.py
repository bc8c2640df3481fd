"""Metrics of deposits and payouts."""

from audifi.core.measures import Measure

PAYOUT_AGES = Measure(
    kind="gauge",
    name="payouts_age_seconds",
    documentation="Time for which the oldest open payout has had its status.",
    labels=("status",),
    known=(("requested",), ("submitted",)),
)
MEASURES = (PAYOUT_AGES,)
