"""Runs all checks, concurrently where they are independent."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from audifi.core.clock import Clock, utc_now
from audifi.core.config.settings import Settings
from audifi.doctor import database, environment
from audifi.doctor.results import DEVELOPMENT, PRODUCTION, Result

CHECK_SECONDS = 10


async def run_checks(
    clock: Clock = utc_now,
    *,
    database_checks: Mapping[str, database.Check] = database.CHECKS,
    check_seconds: float = CHECK_SECONDS,
    request_seconds: float = environment.REQUEST_SECONDS,
) -> list[Result]:
    """Return the results of all checks, in the order in which to solve their problems.

    Args:
        clock: compared with the database's.
        database_checks: run in turn on one connection.
        check_seconds: the limit of each group of checks.
        request_seconds: the limit of each HTTP request.
    """
    settings, database_settings, results = environment.check_settings()

    async def check_with_settings(name: str, check: Callable[[Settings], Awaitable[list[Result]]]) -> list[Result]:
        if settings is None:
            return [Result.skipped(name, "the settings")]
        return await limit_time(name, check(settings), check_seconds)

    groups = await asyncio.gather(
        check_with_settings("addresses", environment.check_addresses),
        limit_time("database", database.check_database(database_settings, clock, database_checks), check_seconds),
        check_with_settings("mail", partial(environment.check_email, request_seconds=request_seconds)),
        check_with_settings("delivery", environment.check_delivery),
        check_with_settings("files", environment.check_files),
        check_with_settings("payments", environment.check_payments),
        check_with_settings("server", partial(environment.check_server, request_seconds=request_seconds)),
    )
    words = DEVELOPMENT if os.environ.get("ENVIRONMENT") == "development" else PRODUCTION
    results = [*results, *(result for group in groups for result in group), environment.check_machine()]
    return [result.in_place(words) for result in results]


async def limit_time(check: str, results: Awaitable[list[Result]], seconds: float) -> list[Result]:
    """Return the results, or an error if they take too long or the check fails."""
    try:
        async with asyncio.timeout(seconds):
            return await results
    except TimeoutError:
        return [Result.error(check, f"The check took more than {seconds:g} s.", "Try again; then see {log}.")]
    except Exception as error:  # noqa: BLE001 - the other checks go on
        return [Result.error(check, f"The check failed: {type(error).__name__}.", "Report this as a bug.")]
