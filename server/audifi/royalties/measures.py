"""Metrics of royalty statements."""

from audifi.core.measures import Measure

LINES = Measure(
    kind="counter",
    name="statement_lines",
    documentation="Lines of imported royalty statements by status.",
    labels=("status",),
    known=(("matched",), ("unmatched",)),
)
MEASURES = (LINES,)
