"""Finds acknowledged writes that are missing from the database."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from tests.support.api import whole_lines


@dataclass(frozen=True, kw_only=True)
class Write:
    """A write that was sent."""

    user: str
    n: int
    start: float
    acknowledged: bool
    refused: bool
    """The answer wasn't 200. Without an answer, a write is neither acknowledged nor refused."""

    @property
    def name(self) -> str:
        return f"write-{self.n}"


def writes_in(*files: Path) -> list[Write]:
    """Return all writes in the files, ordered by their end.

    An account's writes are sequential, so this is the order in which they were sent. Their due times may have another
    order, because writes don't wait for an account in FIFO order.
    """
    lines = [line for file in files for line in read_lines(file) if "n" in line]
    return [
        Write(
            user=line["user"],
            n=line["n"],
            start=line["start"],
            acknowledged=line["status"] == 200,
            refused=isinstance(line["status"], int) and line["status"] != 200,
        )
        for line in sorted(lines, key=lambda line: float(line["start"] + line["seconds"]))
    ]


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSON lines file, without an incomplete last line."""
    return [json.loads(line) for line in whole_lines(file).splitlines()]


def lost_writes(database_url: str, writes: Sequence[Write]) -> list[Write]:
    """Return the acknowledged writes that are missing from the database.

    Each write leaves a row in auth_events, and the last one the account's display name. The database may contain more
    writes than were acknowledged, because answers can be lost, and an unacknowledged write may be applied late.
    """
    return asyncio.run(_lost_writes(database_url, writes))


async def _lost_writes(database_url: str, writes: Sequence[Write]) -> list[Write]:
    users = sorted({write.user for write in writes})
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            "SELECT user_id::text, user_agent, count(*) FROM auth_events"
            " WHERE event = 'user.updated' AND user_id = ANY($1::uuid[]) GROUP BY 1, 2",
            users,
        )
        names = dict(
            await connection.fetch("SELECT id::text, display_name FROM users WHERE id = ANY($1::uuid[])", users)
        )
    finally:
        await connection.close()
    recorded = Counter({(user, name): number for user, name, number in rows})
    lost = []
    for write in writes:
        if write.acknowledged:
            recorded[write.user, write.name] -= 1
            if recorded[write.user, write.name] < 0:
                lost.append(write)
    for user in users:
        user_writes = [write for write in writes if write.user == user]
        last = max((number for number, write in enumerate(user_writes) if write.acknowledged), default=None)
        if last is None or user_writes[last] in lost:
            continue
        unanswered = [write for write in user_writes[:last] if not write.acknowledged and not write.refused]
        if names.get(user) not in {write.name for write in [*unanswered, *user_writes[last:]]}:
            lost.append(user_writes[last])
    return lost
