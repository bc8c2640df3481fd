"""Metrics of the ledger."""

from audifi.core.measures import Measure

TRANSFERS = Measure(
    kind="counter", name="ledger_transfers", documentation="Posted transfers by kind.", labels=("kind",)
)
LOCK_WAIT = Measure(
    kind="histogram",
    name="ledger_lock_wait_seconds",
    documentation="How long transfers wait for the rows that they lock.",
)
OPEN_HOLDS = Measure(
    kind="gauge", name="ledger_holds_open", documentation="Open holds of the ledger, at the last sweep."
)
MEASURES = (TRANSFERS, LOCK_WAIT, OPEN_HOLDS)
