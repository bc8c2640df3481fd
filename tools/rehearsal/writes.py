"""What was written, and whether it is still there."""

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
    """One that was sent."""

    user: str
    n: int
    start: float
    acknowledged: bool
    refused: bool
    """There was an answer, and it wasn't 200. Neither of the two: what became of it, nobody was told."""

    @property
    def name(self) -> str:
        return f"write-{self.n}"


def writes_in(*files: Path) -> list[Write]:
    """All that were sent, each account's in their order.

    Which is that of their ends, because one follows the other. They may have been due in another order: of those that
    wait for an account, the first isn't always the next.
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
    """Objects of a JSON lines file. The last line may be incomplete: its writer was killed, or still writes."""
    return [json.loads(line) for line in whole_lines(file).splitlines()]


def lost_writes(database_url: str, writes: Sequence[Write]) -> list[Write]:
    """Those of `writes_in` that were acknowledged and aren't in the database.

    Each has left a row in auth_events, and the last one the account's name. More may be there than was acknowledged:
    answers get lost, too. And a write that nobody was told of may have been carried out late.
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
        its = [write for write in writes if write.user == user]
        last = max((number for number, write in enumerate(its) if write.acknowledged), default=None)
        if last is None or its[last] in lost:
            continue
        untold = [write for write in its[:last] if not write.acknowledged and not write.refused]
        if names.get(user) not in {write.name for write in [*untold, *its[last:]]}:
            lost.append(its[last])
    return lost
