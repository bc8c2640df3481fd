"""Calls that make something at Stripe, once: the row is committed before, and its id is the idempotency key.

A server that stops in between is followed by a job, which repeats the call with the same key. Stripe keeps keys for a
day. After 23 hours the job looks for what was made, by `metadata.audifi_id`, and never makes it anew.
https://docs.stripe.com/api/idempotent_requests
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

KEYS_KEPT = timedelta(hours=23)


async def make_once[Made](
    *,
    created_at: datetime,
    now: datetime,
    until: timedelta = KEYS_KEPT,
    make: Callable[[], Awaitable[Made]],
    find: Callable[[], Awaitable[Made | None]],
) -> Made | None:
    """Make it, or find what an earlier attempt has made; None where it is too late to make it.

    Args:
        created_at: of the row that was committed before.
        now: the instant.
        until: how long it may be made.
        make: calls Stripe with the row's id as idempotency key, and the same parameters each time.
        find: looks for what has the row's id in its metadata.
    """
    return await (make() if now - created_at < until else find())
