"""Metrics of payments."""

from audifi.core.measures import Measure

EVENTS = Measure(
    kind="counter",
    name="payments_events",
    documentation="Events of the payment provider: queued, ignored or duplicate. One that nothing follows is `other`.",
    labels=("type", "status"),
)
EVENT_AGES = Measure(
    kind="histogram", name="payments_event_age_seconds", documentation="How old events are when they arrive."
)
DROPPED_SYNCS = Measure(
    kind="counter",
    name="payments_syncs_dropped",
    documentation="Fetches that a later one has overtaken.",
    labels=("kind",),
)
DRIFT = Measure(
    kind="counter",
    name="payments_drift",
    documentation="Differences from the payment provider that were found.",
    labels=("kind",),
    known=(("balance",), ("dispute",), ("refund",), ("subscription",), ("suspense",)),
)
OPEN_DISPUTES = Measure(
    kind="gauge",
    name="disputes_open",
    documentation="Open disputes; `due_soon`: evidence is wanted within 3 days.",
    labels=("state",),
    known=(("open",), ("due_soon",)),
)
CALLS = Measure(
    kind="histogram",
    name="payments_provider_seconds",
    documentation="Calls to the payment provider: succeeded, refused or failed.",
    labels=("call", "outcome"),
)
MEASURES = (EVENTS, EVENT_AGES, DROPPED_SYNCS, DRIFT, OPEN_DISPUTES, CALLS)
