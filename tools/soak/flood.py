"""Overload by GETs of one URL, with an HTTP client that costs a tenth of a library's.

    python -m tools.soak.flood --port 8080 --path /api/v1/auth/me --token … --seconds 20 --rate 4000
    python -m tools.soak.flood … --connections 32        # closed loop: each connection waits for its response

Prints a JSON object, see `Flood.result`.
"""

import argparse
import asyncio
import json
import time
from collections import Counter, defaultdict
from typing import Any, cast, override

import uvloop

MAX_CONNECTIONS = 800
TICK_SECONDS = 0.002
LINGER_SECONDS = 30  # for responses after the last request


class Connection(asyncio.Protocol):
    """A connection with one request at a time."""

    def __init__(self, flood: "Flood") -> None:
        self._flood = flood
        self._buffer = b""
        self.due = 0.0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, due: float) -> None:
        self.due = due
        self._transport.write(self._flood.request)

    @override
    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if separator:
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            if len(body) >= length:
                self._buffer = b""
                self._flood.answered(self, int(head[9:12]), body)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._flood.lost(self)


class Flood:
    """One run of the load."""

    def __init__(self, options: argparse.Namespace) -> None:
        head = f"GET {options.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {options.token}\r\n\r\n"
        self.request = head.encode()
        self._port: int = options.port
        self._idle: list[Connection] = []
        self._asking: set[Connection] = set()
        self._opening = 0
        self._offered = self._unsent = 0
        self._lost: Counter[str] = Counter()
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._by_second: dict[int, Counter[str]] = defaultdict(Counter)
        self._wall_minus_monotonic = time.time() - time.monotonic()
        self._asks_again_until = 0.0

    async def open_loop(self, rate: float, seconds: float) -> None:
        began = time.monotonic()
        while (now := time.monotonic()) < began + seconds:
            while self._offered < (now - began) * rate:
                due = began + self._offered / rate
                self._offered += 1
                self._send(due)
            await asyncio.sleep(TICK_SECONDS)
        await self._answers()

    async def closed_loop(self, connections: int, seconds: float) -> None:
        self._asks_again_until = time.monotonic() + seconds
        for _ in range(connections):
            self._send(time.monotonic())
        await asyncio.sleep(seconds)
        await self._answers()

    async def _answers(self) -> None:
        deadline = time.monotonic() + LINGER_SECONDS
        while (self._asking or self._opening) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        self._lost["no answer"] += len(self._asking) + self._opening

    def _send(self, due: float) -> None:
        if self._idle:
            self._ask(self._idle.pop(), due)
        elif len(self._asking) + self._opening < MAX_CONNECTIONS:
            self._opening += 1
            asyncio.ensure_future(self._open(due)).add_done_callback(lambda _: None)
        else:
            self._unsent += 1

    async def _open(self, due: float) -> None:
        try:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(lambda: Connection(self), "127.0.0.1", self._port)
            self._ask(connection, due)
        except OSError as error:
            self._lost[type(error).__name__] += 1
        finally:
            self._opening -= 1

    def _ask(self, connection: Connection, due: float) -> None:
        self._asking.add(connection)
        connection.ask(due)

    def answered(self, connection: Connection, status: int, body: bytes) -> None:
        now = time.monotonic()
        what = _name(status, body)
        self._seconds[what].append(now - connection.due)
        self._by_second[int(now + self._wall_minus_monotonic)][what] += 1
        self._asking.discard(connection)
        if now < self._asks_again_until:
            self._ask(connection, now)
        else:
            self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        if connection in self._asking:
            self._asking.discard(connection)
            self._lost["connection lost"] += 1
        elif connection in self._idle:
            self._idle.remove(connection)

    def result(self) -> dict[str, Any]:
        """Return the counts, and latencies from the time at which each request was due."""
        return {
            "offered": self._offered,
            "unsent": self._unsent,
            "lost": dict(self._lost),
            "answers": {what: _quantiles(seconds) for what, seconds in self._seconds.items()},
            "by_second": {str(second): dict(each) for second, each in self._by_second.items()},
        }


def _name(status: int, body: bytes) -> str:
    """Return the status and the problem's code; "proxy" for the proxy's own responses, which are HTML."""
    if status == 200:
        return "200"
    return f"{status} {json.loads(body)['code']}" if body.startswith(b"{") else f"{status} proxy"


def _quantiles(seconds: list[float]) -> dict[str, float]:
    seconds.sort()
    at = {f"p{share}": round(seconds[(len(seconds) - 1) * share // 100], 4) for share in (50, 99)}
    return {"count": len(seconds), **at, "max": round(seconds[-1], 4)}


async def run(options: argparse.Namespace) -> None:
    flood = Flood(options)
    if options.rate:
        await flood.open_loop(options.rate, options.seconds)
    else:
        await flood.closed_loop(options.connections, options.seconds)
    print(json.dumps(flood.result()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="See the module's docstring.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/api/v1/auth/me")
    parser.add_argument("--token", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--connections", type=int, default=32)
    uvloop.run(run(parser.parse_args()))
