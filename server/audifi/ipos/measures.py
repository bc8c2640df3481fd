"""Metrics of offerings."""

from audifi.core.measures import Measure

STATUSES = (("live",), ("paused",), ("canceling",))
RUNNING = Measure(
    kind="gauge",
    name="ipos_running",
    documentation="Offerings that haven't ended, by status.",
    labels=("status",),
    known=STATUSES,
)
SOLD_RATIO = Measure(
    kind="gauge",
    name="ipo_sold_ratio",
    documentation="Sold part of the shares that these offerings offer together.",
    labels=("status",),
    known=STATUSES,
)
MEASURES = (RUNNING, SOLD_RATIO)
