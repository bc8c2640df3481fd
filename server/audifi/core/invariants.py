"""Invariants of a feature's data, as queries that return the rows which violate them."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import asyncpg

from audifi.core.config.settings import DatabaseSettings
from audifi.core.db.connection import connect

logger = logging.getLogger(__name__)

QUERY_TIMEOUT_SECONDS = 120
CHECK_TIMES = "20 3 * * *"
"""Each night, in UTC (crontab(5))."""
MAX_EXAMPLES = 5


@dataclass(frozen=True, kw_only=True)
class Invariant:
    """A rule that holds at every instant between two transactions."""

    name: str
    """snake_case; a label of the metric."""
    sentence: str
    """The rule, for a person: "An account in the state deleted has no session."."""
    violations: str
    """SQL without parameters that returns a row for each violation, in any columns that hold ids and no secrets."""


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A rule that doesn't hold, with some of the rows that break it."""

    invariant: Invariant
    examples: Sequence[str]


async def check(connection: asyncpg.Connection, invariants: Sequence[Invariant]) -> list[Violation]:
    """Run the queries in one read-only snapshot, so that they see one instant; return what is violated."""
    violations = []
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        for invariant in invariants:
            rows = await connection.fetch(f"SELECT * FROM ({invariant.violations}) AS v LIMIT {MAX_EXAMPLES}")  # noqa: S608
            if rows:
                examples = [", ".join(f"{name}={value}" for name, value in row.items()) for row in rows]
                violations.append(Violation(invariant=invariant, examples=examples))
    return violations


async def check_nightly(
    settings: DatabaseSettings, invariants: Sequence[Invariant], record: Callable[[str, int], None]
) -> None:
    """Check on a connection of its own, log what is violated, and record how many examples each invariant has."""
    connection = await connect(
        settings,
        command_timeout_seconds=QUERY_TIMEOUT_SECONDS,
        server_settings={"application_name": "audifi-invariants"},
    )
    try:
        violations = {violation.invariant.name: violation for violation in await check(connection, invariants)}
    finally:
        await connection.close()
    for invariant in invariants:
        violation = violations.get(invariant.name)
        record(invariant.name, len(violation.examples) if violation else 0)
        if violation:
            logger.error("invariant violated: name=%s examples=%s", invariant.name, "; ".join(violation.examples))
