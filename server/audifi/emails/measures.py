"""Metrics of the delivery of e-mails."""

from audifi.core.measures import Measure
from audifi.emails.models import EMAIL_EVENT_NAMES

EVENTS = Measure(
    kind="counter",
    name="email_events",
    documentation="The provider's events about e-mails.",
    labels=("event",),
    known=tuple((name,) for name in EMAIL_EVENT_NAMES),
)
MEASURES = (EVENTS,)
