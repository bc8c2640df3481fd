"""Rate limits, their status after a request, and the keys of their counters."""

import hmac
import math
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import NamedTuple, Self

from pydantic import SecretStr

from audifi.core.clock import format_duration
from audifi.core.config.derived_keys import derive_key


@dataclass(frozen=True)
class Limit:
    """A number of requests in a fixed window of time, for each subject (a client, an account, an address)."""

    name: str
    """Identifies the limit in `RateLimit-Policy` and in metrics: letters, digits and hyphens."""
    amount: int
    per: timedelta

    @cached_property
    def seconds(self) -> int:
        return int(self.per.total_seconds())

    @cached_property
    def policy(self) -> str:
        return f'"{self.name}";q={self.amount};w={self.seconds}'

    def times(self, factor: int) -> Self:
        """Return the limit with its amount multiplied (`RATE_LIMIT_FACTOR`)."""
        return self if factor == 1 else replace(self, amount=self.amount * factor)


class LimitStatus(NamedTuple):
    """The state of one limit after a request was counted."""

    limit: Limit
    remaining: int
    reset_seconds: int
    """Seconds until the window ends, rounded up, at least 1."""

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The fields of draft-ietf-httpapi-ratelimit-headers-10; a response has one line of each per limit."""
        return [
            ("RateLimit-Policy", self.limit.policy),
            ("RateLimit", f'"{self.limit.name}";r={self.remaining};t={self.reset_seconds}'),
        ]


class RateLimitExceededError(Exception):
    """A limit was reached. `core.http.problems` answers it with 429."""

    def __init__(self, status: LimitStatus) -> None:
        super().__init__(status.limit.name)
        self.status = status

    @property
    def detail(self) -> str:
        limit = self.status.limit
        wait = format_duration(self.status.reset_seconds)
        return f"At most {limit.amount} in {format_duration(limit.seconds)}. Try again in {wait}."


def check(limit: Limit, *, count: int, expires_at: float, now: float) -> LimitStatus:
    """Return what is left of a limit once its counter is at `count`; times are POSIX timestamps.

    Raises:
        RateLimitExceededError: `count` is above the limit.
    """
    status = LimitStatus(limit, max(0, limit.amount - count), max(1, math.ceil(expires_at - now)))
    if count > limit.amount:
        raise RateLimitExceededError(status)
    return status


class CounterKeys:
    """Keys of counters. Subjects are addresses of people and networks, so the database holds an HMAC of them."""

    def __init__(self, secret: SecretStr) -> None:
        """Derive the key of the HMAC from an application secret (NIST SP 800-57 part 1, 5.2)."""
        self._hmac_key = derive_key(secret, "rate limit counter")

    def key(self, limit: Limit, subject: str) -> str:
        """Return 32 hex digits. A limit's name holds no NUL, so no two limits share a key."""
        return hmac.digest(self._hmac_key, f"{limit.name}\0{subject}".encode(), "sha256").hex()[:32]
