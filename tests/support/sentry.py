"""Sentry's envelope endpoint on this machine: it keeps all it gets, byte by byte, unpacked."""

import gzip
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import batched
from typing import Any, override

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

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            sentry.keep(str(self.headers), body.decode())
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        @override
        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sentry.dsn = f"http://a0b1c2d3e4f5@127.0.0.1:{server.server_port}/42"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield sentry
    finally:
        server.shutdown()
        server.server_close()
