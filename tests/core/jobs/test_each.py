"""Work on many things of which some fail."""

import asyncio

import pytest

from audifi.core.jobs.each import for_each


def test_failed_item_keeps_no_other_waiting() -> None:
    handled = []

    async def handle(number: int) -> None:
        if number % 2:
            raise OSError(number)
        handled.append(number)

    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(for_each(range(4), handle))

    assert handled == [0, 2]
    assert [error.args for error in raised.value.exceptions] == [(1,), (3,)]
