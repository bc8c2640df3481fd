"""Calls that make something at Stripe, once: the row is committed before, and its id is the idempotency key.

A server that stops in between is followed by a job, which repeats the call with the same key. Stripe keeps keys for a
day. After 22 hours the job looks for what was made, by `metadata.audifi_id`, and never makes it anew. That nothing was
made counts only an hour later: the answer of the last call may have been lost, and Stripe's lists lag.
https://docs.stripe.com/api/idempotent_requests
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from audifi.payments import problems

MADE_WITHIN = timedelta(hours=22)
QUIET = timedelta(hours=1)


async def make_once[Made](
    *,
    created_at: datetime,
    now: datetime,
    until: timedelta = MADE_WITHIN,
    quiet: timedelta = QUIET,
    make: Callable[[], Awaitable[Made]],
    find: Callable[[], Awaitable[Made | None]],
) -> Made | None:
    """Make it, or find what an earlier attempt has made; None where nothing was made, and it is too late to.

    Args:
        created_at: of the row that was committed before.
        now: the instant.
        until: how long it may be made.
        quiet: how long after that it isn't known yet that nothing was made.
        make: calls Stripe with the row's id as idempotency key, and the same parameters each time.
        find: looks for what has the row's id in its metadata.

    Raises:
        Problem: `payments.provider_unavailable`, while it isn't known.
    """
    age = now - created_at
    if age < until:
        return await make()
    made = await find()
    if made is None and age < until + quiet:
        raise problems.provider_unavailable()
    return made
