"""Reads the metrics that a server exports to Prometheus."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from tests.support import patient

WAIT_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class Exported:
    """All series at one moment."""

    values: dict[tuple[str, frozenset[tuple[str, str]]], float]

    def value(self, name: str, /, **labels: str) -> float:
        """Return the sum of the series with this name and labels, like PromQL's `sum(name{…})`; 0 without any."""
        return sum(
            value for (each, labelled), value in self.values.items() if each == name and labels.items() <= labelled
        )

    def labels(self, name: str) -> Iterator[dict[str, str]]:
        return (dict(labels) for each, labels in self.values if each == name)

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.values}


def exported(port: int) -> Exported:
    """Return the metrics exported on a port of 127.0.0.1."""
    answer = patient.get(f"http://127.0.0.1:{port}/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(answer.text)
    return Exported(
        values={(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}
    )


def wait_for(port: int, wanted: Callable[[Exported], bool]) -> Exported:
    """Return the first metrics that match; a counter may change only after the response was read."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not wanted(now := exported(port)):
        assert time.monotonic() < deadline, sorted(map(str, now.values.items()))
        time.sleep(0.05)
    return now
