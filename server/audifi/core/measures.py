"""Definition of a metric: https://prometheus.io/docs/practices/naming/. `core/telemetry/metrics.py` exports it."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, eq=False)
class Measure:
    """A metric. A feature lists its own in `Feature.measures`; a test compares all names with those in ops/."""

    kind: Literal["counter", "gauge", "histogram"]
    """A histogram is of seconds."""
    name: str
    """With the unit; Prometheus adds `_total` to a counter."""
    documentation: str
    labels: tuple[str, ...] = ()
    """No label has a value that a client can choose."""
    known: tuple[tuple[str, ...], ...] = ()
    """Values of the labels that start at 0: a counter that appears with its first event shows no increase."""
