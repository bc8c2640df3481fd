"""Runs all checks, concurrently where they are independent."""

import asyncio
from collections.abc import Awaitable, Callable

from audifi.core.clock import Clock, utc_now
from audifi.core.config.settings import Settings
from audifi.doctor import database, environment
from audifi.doctor.results import Result

CHECK_SECONDS = 10
"""The limit of each group of checks; each of their requests has a shorter one."""


async def run_checks(clock: Clock = utc_now) -> list[Result]:
    """Return the results of all checks, in the order in which to solve their problems."""
    settings, database_settings, results = environment.check_settings()

    async def check_with_settings(name: str, check: Callable[[Settings], Awaitable[list[Result]]]) -> list[Result]:
        return await limit_time(name, check(settings)) if settings else [Result.skipped(name, "the settings")]

    groups = await asyncio.gather(
        check_with_settings("addresses", environment.check_addresses),
        limit_time("database", database.check_database(database_settings, clock)),
        check_with_settings("mail", environment.check_email),
        check_with_settings("server", environment.check_server),
    )
    return [*results, *(result for group in groups for result in group), environment.check_machine()]


async def limit_time(check: str, results: Awaitable[list[Result]]) -> list[Result]:
    """Return the results, or an error if they take too long or the check fails."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await results
    except TimeoutError:
        return [
            Result.error(check, f"The check took more than {CHECK_SECONDS} s.", "Try again; then see `flyctl logs`.")
        ]
    except Exception as error:  # noqa: BLE001 - the other checks go on
        return [Result.error(check, f"The check failed: {type(error).__name__}.", "Report this as a bug.")]
