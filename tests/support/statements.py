"""The statements that a server sends to PostgreSQL, from PostgreSQL's log, and their plans."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg

LOGGING = {
    "logging_collector": "on",
    "log_destination": "jsonlog",
    "log_statement": "all",
    "log_rotation_age": "0",  # one file
    "log_rotation_size": "0",
}
"""Settings of a server that logs every statement, of every driver."""

READ_LOG = "SELECT pg_read_file(pg_current_logfile('jsonlog'))"
SENT = re.compile(r"(?:execute [^:]+|statement): (.*)", re.DOTALL)
PARAMETER = re.compile(r"\$\d+ = ('(?:[^']|'')*'|NULL)")
HAS_A_PLAN = re.compile(r"\s*(?:SELECT|INSERT|UPDATE|DELETE|MERGE|WITH)\b", re.IGNORECASE)
EXECUTIONS = 7
INDEX_SCANS = {"Index Scan", "Index Only Scan"}


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A statement, and the values of its first execution."""

    text: str
    values: tuple[str, ...]
    """SQL literals; PostgreSQL infers their types from the statement, as it does for a driver."""

    def __str__(self) -> str:
        return " ".join(self.text.split())


async def sent_by(connection: asyncpg.Connection, application: str) -> list[Statement]:
    """Return the planned statements that an application has sent to this database, each text once."""
    database = await connection.fetchval("SELECT current_database()")
    statements: dict[str, Statement] = {}
    whole_lines, _, _ = (await connection.fetchval(READ_LOG)).rpartition("\n")
    for line in whole_lines.splitlines():
        entry = json.loads(line)
        sent = SENT.fullmatch(entry.get("message", ""))
        if not sent or (entry.get("dbname"), entry.get("application_name")) != (database, application):
            continue
        if HAS_A_PLAN.match(sent[1]):
            values = tuple(PARAMETER.findall(entry.get("detail", "")))
            statements.setdefault(sent[1], Statement(text=sent[1], values=values))
    return list(statements.values())


async def plans(connection: asyncpg.Connection, statement: Statement) -> list[dict[str, Any]]:
    """Return the distinct plans of a prepared statement, without running it.

    PostgreSQL makes five custom plans and then a generic one, if that looks no worse
    (https://www.postgresql.org/docs/16/sql-prepare.html, Notes).
    """
    distinct: list[dict[str, Any]] = []
    await connection.execute(f"PREPARE explained AS {statement.text}")
    try:
        execute = f"EXECUTE explained ({', '.join(statement.values)})" if statement.values else "EXECUTE explained"
        for _ in range(EXECUTIONS):
            [explained] = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON, VERBOSE) {execute}"))
            if described(explained["Plan"]) not in map(described, distinct):
                distinct.append(explained["Plan"])
    finally:
        await connection.execute("DEALLOCATE explained")
    return distinct


def read_whole(plan: dict[str, Any]) -> set[str]:
    """Return the tables, except catalogs, of which a plan reads each row: by a scan, or an unrestricted index."""
    return {
        node["Relation Name"]
        for node in nodes(plan)
        if node.get("Schema") == "public"
        and (node["Node Type"] == "Seq Scan" or (node["Node Type"] in INDEX_SCANS and "Index Cond" not in node))
    }


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def described(plan: dict[str, Any], depth: int = 0) -> str:
    """Return the plan in short, like EXPLAIN's text."""
    names = [plan.get("Index Name"), plan.get("Relation Name")]
    conditions = [plan[name] for name in ("Index Cond", "Filter") if name in plan]
    line = " ".join([plan["Node Type"], *(f"on {name}" for name in names if name), *conditions])
    children = [described(child, depth + 1) for child in plan.get("Plans", [])]
    return "\n".join([f"{'  ' * depth}{line} (rows={plan['Plan Rows']})", *children])
