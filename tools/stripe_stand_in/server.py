"""Runs a stand-in in a thread, and gives tests a handle on it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.support.app import serving
from tools.stripe_stand_in.app import StandIn
from tools.stripe_stand_in.webhooks import Endpoint, Webhooks
from tools.stripe_stand_in.world import World

START = 1_790_000_000  # 2026-09-21


class CommandError(Exception):
    """The stand-in refused a command."""


@dataclass(frozen=True, kw_only=True)
class Handle:
    """A running stand-in, in this process or in another one."""

    url: str
    http: httpx2.Client

    def do(self, command: str, **fields: Any) -> dict[str, Any]:
        """Run a command of `control.Commands`."""
        response = self.http.post(f"{self.url}/_stand_in/{command}", json=fields)
        if response.status_code != 200:
            raise CommandError(response.text)
        result: dict[str, Any] = response.json()
        return result

    @property
    def now(self) -> int:
        return int(self.do("clock")["now"])

    def advance(self, *, days: float = 0, hours: float = 0, seconds: int = 0) -> None:
        """Move the clock, and wait until the events have been delivered."""
        self.do("clock", seconds=seconds + int(days * 86_400 + hours * 3600))
        self.do("drain")


@contextmanager
def running(*, start: int | None = START, endpoints: Sequence[Endpoint] = (), seed: int = 0) -> Iterator[Handle]:
    """Run a stand-in while the block runs.

    Args:
        start: the time at which its clock stands; None: it runs.
    """
    world = World(start=start, seed=seed)
    stand_in = StandIn(world=world, webhooks=Webhooks(world=world, endpoints=list(endpoints)))
    with serving(stand_in.app()) as url, httpx2.Client(timeout=30) as http:
        world.base_url = url
        yield Handle(url=url, http=http)
