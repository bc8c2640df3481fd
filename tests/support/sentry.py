"""Sentry's envelope endpoint on this machine: it keeps all it gets, byte by byte, unpacked."""

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
    """Heads of requests, and bodies."""
    _envelopes: list[str] = field(default_factory=list)

    def events(self) -> list[dict[str, Any]]:
        """Those of type `event`: https://develop.sentry.dev/sdk/foundations/transport/envelopes/"""
        found = []
        for envelope in list(self._envelopes):
            for head, item in batched(envelope.splitlines()[1:], 2, strict=True):
                if json.loads(head)["type"] == "event":
                    found.append(json.loads(item))
        return found

    def keep(self, head: str, envelope: str) -> None:
        self.received += [head, envelope]
        self._envelopes.append(envelope)

    def wait_for(self, count: int) -> list[dict[str, Any]]:
        deadline = time.monotonic() + WAIT_SECONDS
        while len(found := self.events()) < count:
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return found


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
