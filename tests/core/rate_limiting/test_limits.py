"""Limits, their headers, and the keys of their counters."""

from datetime import timedelta

import pytest
from pydantic import SecretStr

from audifi.core.rate_limiting.limits import CounterKeys, Limit, RateLimitExceededError, check

FIVE = Limit("five", 5, per=timedelta(minutes=2))


@pytest.mark.parametrize(
    ("count", "now", "headers"),
    [
        (1, 100.0, '"five";r=4;t=50'),
        (5, 100.0, '"five";r=0;t=50'),
        (2, 100.001, '"five";r=3;t=50'),  # rounded up, so that a client that waits gets a new window
        (2, 149.999, '"five";r=3;t=1'),
        (2, 150.0, '"five";r=3;t=1'),
    ],
)
def test_status_has_the_fields_of_the_draft(count: int, now: float, headers: str) -> None:
    status = check(FIVE, count=count, expires_at=150, now=now)

    assert status.headers == [("RateLimit-Policy", '"five";q=5;w=120'), ("RateLimit", headers)]


@pytest.mark.parametrize("count", [6, 600])
def test_count_above_the_limit_is_refused(count: int) -> None:
    with pytest.raises(RateLimitExceededError) as caught:
        check(FIVE, count=count, expires_at=150, now=100)

    assert (caught.value.status.remaining, caught.value.status.reset_seconds) == (0, 50)
    assert caught.value.detail == "At most 5 in 2 minutes. Try again in 50 seconds."


def test_counter_key_depends_on_secret_limit_and_subject() -> None:
    keys, others = CounterKeys(SecretStr("s" * 32)), CounterKeys(SecretStr("t" * 32))
    named = [Limit(name, 1, per=timedelta(minutes=1)) for name in ("a", "ab", "a-b")]
    every = [(limit, subject) for limit in named for subject in ("", "b", "b\0", "ab", "203.0.113.7/32")]

    counter_keys = [source.key(limit, subject) for source in (keys, others) for limit, subject in every]

    assert len(set(counter_keys)) == len(counter_keys)
    assert keys.key(named[0], "b") == CounterKeys(SecretStr("s" * 32)).key(named[0], "b")


def test_counter_key_shows_no_subject() -> None:
    key = CounterKeys(SecretStr("s" * 32)).key(FIVE, "203.0.113.7/32")

    assert len(key) == 32
    assert set(key) <= set("0123456789abcdef")
