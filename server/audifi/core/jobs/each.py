"""`for_each`: handle each item, even after another one has failed. For scheduled work."""

from collections.abc import Awaitable, Callable, Iterable

REPORTED = 10


async def for_each[T](items: Iterable[T], handle: Callable[[T], Awaitable[object]]) -> None:
    """Call `handle` with each item, one after the other, also after one has failed.

    Raises:
        ExceptionGroup: of what `handle` raised (the first ten), at the end.
    """
    errors: list[Exception] = []
    for item in items:
        try:
            await handle(item)
        except Exception as error:  # noqa: BLE001 - raised at the end
            errors.append(error)
    if errors:
        raise ExceptionGroup(f"{len(errors)} failed", errors[:REPORTED])
