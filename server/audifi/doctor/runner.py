"""Every check, at once where they don't need each other."""

import asyncio
from collections.abc import Awaitable, Callable

from audifi.core.clock import Clock, utc_now
from audifi.core.config.settings import Settings
from audifi.doctor import database
from audifi.doctor import environment as surroundings
from audifi.doctor.results import Finding, skipped, wrong

CHECK_SECONDS = 10
"""For each of those that ask others, all at once; each of their questions has a shorter limit."""


async def examine(clock: Clock = utc_now) -> list[Finding]:
    """All checks, in the order in which a person would mend what they find."""
    settings, database_settings, found = surroundings.read_settings()

    async def of_settings(name: str, check: Callable[[Settings], Awaitable[list[Finding]]]) -> list[Finding]:
        return await in_time(name, check(settings)) if settings else [skipped(name, "the settings")]

    asked = await asyncio.gather(
        of_settings("addresses", surroundings.addresses),
        in_time("database", database.look_into(database_settings, clock)),
        of_settings("mail", surroundings.mail),
        of_settings("server", surroundings.server),
    )
    return [*found, *(finding for findings in asked for finding in findings), surroundings.machine()]


async def in_time(check: str, findings: Awaitable[list[Finding]]) -> list[Finding]:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await findings
    except TimeoutError:
        return [wrong(check, f"There was no end to it within {CHECK_SECONDS} s.", "Try again; then see `flyctl logs`.")]
    except Exception as error:  # noqa: BLE001 - the other checks are made all the same
        return [wrong(check, f"The check itself fails: {type(error).__name__}.", "Mend it.")]
