"""Invariants of a feature's data, as queries that return the rows which violate them."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

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
