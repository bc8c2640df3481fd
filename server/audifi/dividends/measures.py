"""Metrics of dividends."""

from audifi.core.measures import Measure

UNCLAIMED = Measure(
    kind="gauge",
    name="dividend_unclaimed_units",
    documentation="What holders haven't claimed, in base units.",
    labels=("currency",),
)
DISTRIBUTION_DELAY = Measure(
    kind="gauge",
    name="distribution_delay_seconds",
    documentation="Time for which the oldest due distribution has waited to be shared out.",
)
MEASURES = (UNCLAIMED, DISTRIBUTION_DELAY)
