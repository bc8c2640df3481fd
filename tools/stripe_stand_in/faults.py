"""Failures of the API that a test asks for: 403, 429, 500 and time-outs, before or after the effect."""

from dataclasses import dataclass, field

KINDS = {"forbidden", "rate_limit", "error_before", "error_after", "timeout_before", "timeout_after"}


@dataclass(kw_only=True)
class Fault:
    """A failure of the next requests.

    Args:
        kind: one of `KINDS`. An error after the effect is saved for the Idempotency-Key.
        method: of the requests.
        path: what their path begins with.
        times: how many requests fail.
    """

    kind: str
    method: str = "POST"
    path: str = "/v1/"
    times: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is one of {', '.join(sorted(KINDS))}")


@dataclass(kw_only=True)
class Faults:
    waiting: list[Fault] = field(default_factory=list)

    def take(self, kind: str, method: str, path: str) -> bool:
        """Return whether this request fails in this way, and count it."""
        for fault in self.waiting:
            if fault.kind == kind and fault.method == method and path.startswith(fault.path):
                fault.times -= 1
                if fault.times <= 0:
                    self.waiting.remove(fault)
                return True
        return False
