"""Sentry's envelope endpoint: stores what it receives, decompressed."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import batched
from typing import Any

from tests.support import web

WAIT_SECONDS = 10


@dataclass
class Sentry:
    dsn: str = ""
    received: list[str] = field(default_factory=list)
    """Request heads and bodies."""
    _envelopes: list[str] = field(default_factory=list)

    def events(self) -> list[dict[str, Any]]:
        """Return the items of type `event`: https://develop.sentry.dev/sdk/foundations/transport/envelopes/"""
        events = []
        for envelope in list(self._envelopes):
            for head, item in batched(envelope.splitlines()[1:], 2, strict=True):
                if json.loads(head)["type"] == "event":
                    events.append(json.loads(item))
        return events

    def keep(self, head: str, envelope: str) -> None:
        self.received += [head, envelope]
        self._envelopes.append(envelope)

    def wait_for(self, count: int) -> list[dict[str, Any]]:
        deadline = time.monotonic() + WAIT_SECONDS
        while len(events := self.events()) < count:
            assert time.monotonic() < deadline, events
            time.sleep(0.05)
        return events


@contextmanager
def running() -> Iterator[Sentry]:
    sentry = Sentry()

    class Handler(web.Handler):
        def do_POST(self) -> None:
            sentry.keep(str(self.headers), self.read().decode())
            self.reply(200, b"{}")

    with web.serving(Handler) as url:
        sentry.dsn = f"{url.replace('//', '//a0b1c2d3e4f5@')}/42"
        yield sentry
