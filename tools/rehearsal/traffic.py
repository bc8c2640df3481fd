"""Sends steady traffic as real clients do, and records the result of each request.

    python -m tools.rehearsal.traffic --url https://audifi-api.fly.dev --out requests.jsonl \
        --refresh-token art1_… --refresh-token art1_… --rate 300 --connect 127.0.0.1:8443 --ca ca.pem

Of nine requests, six get health, two read an account, and one changes it. The load is an open loop: requests start on
time however slow earlier answers are. With `--outstanding`, what is due while so many wait is left out, so that a busy
machine isn't overloaded. Nothing is retried. The file has one JSON object per request:

    start    Unix time at which the request was due
    seconds  duration until the complete answer, or the failure
    kind     health | read | write | refresh
    status   status of the answer, or the name of the error's type
    detail   message of a failure
    single   true if the request had its own connection
    version  (health) the version in the answer
    user, n  (write) the account, and the number n of its write, which sets the display name to `write-<n>`; absent if
             the write was never sent

SIGTERM or SIGINT ends the traffic after all outstanding requests.
"""

import argparse
import asyncio
import json
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TextIO, override

import aiohttp
import uvloop
from aiohttp import ClientSession, TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult

from tests.support.api import ROOT, environment

API = "/api/v1"
# By cost for the server: a read costs as much as seven health requests, a write as much as twelve.
KINDS = "health read health health write health read health health".split()
TIMEOUT_SECONDS = 10
# More than an outage of three seconds leaves outstanding at 300/s; a longer outage causes immediate failures.
MOST_OUTSTANDING = 1000
# One request in this number has its own connection. Coprime to the number of kinds, so that it occurs in each kind.
OWN_CONNECTION_EVERY = 10
# Below the 5 s after which uvicorn closes idle connections, for use without a proxy.
KEPT_SECONDS = 4
REFRESH_SECONDS = 300  # an access token is valid for 600
START_TIMEOUT_SECONDS = 30


@dataclass
class Account:
    """A client's session. One writer at a time takes it from the queue, so an account's writes are sequential."""

    refresh_token: str
    access_token: str = ""
    user: str = ""
    writes: int = 0

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access_token}"}


@dataclass
class Traffic:
    """The traffic of all accounts; started by `send_until`."""

    url: str
    accounts: Sequence[Account]
    out: TextIO
    kept: ClientSession
    single: ClientSession
    """Closes each connection after one request."""
    outstanding: int | None = None
    """Leave out what is due while so many requests wait for an answer."""
    sent: Counter[str] = field(default_factory=Counter)
    """Number of requests by result: `good`, or a status."""

    def __post_init__(self) -> None:
        self._outstanding: set[asyncio.Task[None]] = set()
        self._idle: asyncio.Queue[Account] = asyncio.Queue()
        for account in self.accounts:
            self._idle.put_nowait(account)

    async def send_until(self, stop: asyncio.Event, rate: float) -> None:
        """Send requests in an open loop. Late requests are sent at once, and their duration starts at the due time."""
        began, wall = time.monotonic(), time.time()
        refreshing = asyncio.create_task(self._stay_signed_in())
        for number in count():
            due = number / rate
            wait = began + due - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            if stop.is_set():
                break
            if self.outstanding is not None and len(self._outstanding) >= self.outstanding:
                continue
            line: dict[str, Any] = {"start": wall + due, "kind": KINDS[number % len(KINDS)]}
            if len(self._outstanding) < MOST_OUTSTANDING:
                self._begin(self._send(number, began + due, line))
            else:
                self._note(line, 0, "TooManyOutstanding", f"{MOST_OUTSTANDING} requests wait for an answer")
        refreshing.cancel()
        while self._outstanding:
            await asyncio.wait(self._outstanding)

    async def sign_in(self) -> None:
        """Get the first access tokens.

        Raises:
            SystemExit: a refresh token is rejected.
        """
        for account in self.accounts:
            if (problem := await self._refresh(account)) is not None:
                sys.exit(f"traffic: no access token for a refresh token: {problem}")

    def _begin(self, sending: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(sending)
        self._outstanding.add(task)
        task.add_done_callback(self._outstanding.discard)

    async def _send(self, number: int, due: float, line: dict[str, Any]) -> None:
        session = self.kept
        if number % OWN_CONNECTION_EVERY == 0:
            session, line["single"] = self.single, True
        status: int | str
        try:
            async with asyncio.timeout_at(due + TIMEOUT_SECONDS):
                match line["kind"]:
                    case "health":
                        status, body = await self._ask(session, "GET", "/health")
                        if status == 200:
                            line["version"] = json.loads(body)["version"]
                    case "read":
                        account = self.accounts[number % len(self.accounts)]
                        status, body = await self._ask(session, "GET", "/auth/me", headers=account.headers)
                    case _:
                        status, body = await self._write(session, line)
            detail = body
        except (OSError, aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
            status, detail = type(error).__name__, str(error)
        self._note(line, time.monotonic() - due, status, detail)

    async def _write(self, session: ClientSession, line: dict[str, Any]) -> tuple[int, str]:
        account = await self._idle.get()
        try:
            account.writes += 1
            line |= {"user": account.user, "n": account.writes}
            name = f"write-{account.writes}"
            # The server stores the user agent with the event, which identifies the write.
            headers = account.headers | {"User-Agent": name}
            return await self._ask(session, "PATCH", "/auth/me", headers=headers, json={"display_name": name})
        finally:
            self._idle.put_nowait(account)

    async def _stay_signed_in(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            for account in self.accounts:
                # Only refreshes are retried, after recording the failure: without a token later requests would fail.
                while await self._refresh_and_note(account) is not None:  # noqa: ASYNC110
                    await asyncio.sleep(1)

    async def _refresh_and_note(self, account: Account) -> str | None:
        start = time.time()
        problem = await self._refresh(account)
        line = {"start": start, "kind": "refresh"}
        self._note(line, time.time() - start, 200 if problem is None else "RefreshFailed", problem or "")
        return problem

    async def _refresh(self, account: Account) -> str | None:
        """Refresh the tokens; return the error, or None."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                body = {"refresh_token": account.refresh_token}
                status, answer = await self._ask(self.single, "POST", "/auth/refresh", json=body)
                if status == 200:
                    tokens = json.loads(answer)
                    account.access_token, account.refresh_token = tokens["access_token"], tokens["refresh_token"]
                    if not account.user:
                        _, answer = await self._ask(self.single, "GET", "/auth/me", headers=account.headers)
                        account.user = json.loads(answer)["id"]
                    return None
        except (OSError, aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
            return f"{type(error).__name__}: {error}"
        return f"status {status}: {answer[:200]}"

    async def _ask(self, session: ClientSession, method: str, path: str, **options: Any) -> tuple[int, str]:
        async with session.request(method, self.url + API + path, **options) as answer:
            return answer.status, await answer.text()

    def _note(self, line: dict[str, Any], seconds: float, status: int | str, detail: str) -> None:
        good = status == 200
        self.sent["good" if good else str(status)] += 1
        line = line | {"seconds": round(seconds, 5), "status": status} | ({} if good else {"detail": detail[:200]})
        self.out.write(json.dumps(line, separators=(",", ":")) + "\n")


class Elsewhere(AbstractResolver):
    """Resolves every name to one address, like curl's --connect-to; certificates are still checked by name."""

    def __init__(self, address: str) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = ResolveResult(
            hostname=host, host=self._host, port=self._port, family=socket.AF_INET, proto=0, flags=socket.AI_NUMERICHOST
        )
        return [address]

    @override
    async def close(self) -> None: ...


@asynccontextmanager
async def sessions(connect: str | None, ca: Path | None) -> AsyncIterator[tuple[ClientSession, ClientSession]]:
    """Yield a session that keeps its connections, and one that doesn't."""
    proxy = connect if connect and "://" in connect else None
    common: dict[str, Any] = {
        "limit": 0,  # MOST_OUTSTANDING bounds the connections
        "ssl": ssl.create_default_context(cafile=ca),
        "resolver": Elsewhere(connect) if connect and not proxy else None,
    }

    def session(connector: TCPConnector) -> ClientSession:
        # aiohttp rounds its timeouts to seconds; asyncio.timeout doesn't.
        untimed = aiohttp.ClientTimeout(total=None)
        return ClientSession(connector=connector, proxy=proxy, cookie_jar=aiohttp.DummyCookieJar(), timeout=untimed)

    async with (
        session(TCPConnector(keepalive_timeout=KEPT_SECONDS, **common)) as kept,
        session(TCPConnector(force_close=True, **common)) as single,
    ):
        # aiohttp retries a GET whose kept connection was closed, and has no public option for it.
        kept._retry_connection = False  # noqa: SLF001
        yield kept, single


def report_problem(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report errors of the event loop, except uvloop's about each TLS connection that is closed with unsent data."""
    if context["message"] != "Fatal error on SSL protocol":
        loop.default_exception_handler(context)


async def run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.set_exception_handler(report_problem)
    accounts = [Account(refresh_token=token) for token in options.refresh_token]
    with options.out.open("w", buffering=1) as out:
        async with sessions(options.connect, options.ca) as (kept, single):
            traffic = Traffic(
                url=options.url.rstrip("/"),
                accounts=accounts,
                out=out,
                kept=kept,
                single=single,
                outstanding=options.outstanding,
            )
            await traffic.sign_in()
            await traffic.send_until(stop, options.rate)
    failed = {status: number for status, number in traffic.sent.items() if status != "good"}
    print(f"traffic: {traffic.sent.total()} requests, {sum(failed.values())} failed {failed or ''}".rstrip())


def main() -> None:
    parser = argparse.ArgumentParser(description="Steady traffic; see the module's docstring.")
    parser.add_argument("--url", required=True, help="URL of the API, without a path")
    parser.add_argument("--out", required=True, type=Path, help="output file")
    parser.add_argument(
        "--refresh-token",
        required=True,
        action="append",
        help="refresh token of an account (repeatable); it is consumed",
    )
    parser.add_argument("--outstanding", type=int, help="leave out requests while so many wait (default: none)")
    parser.add_argument("--rate", type=float, default=300, help="requests per second (%(default)s)")
    parser.add_argument(
        "--connect", help="connect to HOST:PORT instead of the host of --url, or through the proxy http://HOST:PORT"
    )
    parser.add_argument("--ca", help="CA certificates in PEM; default: the system's")
    options = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * MOST_OUTSTANDING)), hard))
    uvloop.run(run(options))


@contextmanager
def running(
    url: str,
    out: Path,
    refresh_tokens: Sequence[str],
    *,
    rate: float = 300,
    outstanding: int | None = None,
    connect: str | None = None,
    ca: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run this program as a process while the block runs. The block starts after the first recorded request."""
    command = [sys.executable, "-m", "tools.rehearsal.traffic", f"--url={url}", f"--out={out}", f"--rate={rate}"]
    command += [f"--refresh-token={each}" for each in refresh_tokens]
    command += [f"--outstanding={outstanding}"] if outstanding else []
    command += [f"--connect={connect}"] if connect else []
    command += [f"--ca={ca}"] if ca else []
    out.unlink(missing_ok=True)
    process = subprocess.Popen(command, env=environment(), cwd=ROOT)
    try:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not (out.exists() and out.stat().st_size):
            assert process.poll() is None, "the traffic process exited; see its standard error"
            assert time.monotonic() < deadline, "the traffic didn't start"
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(TIMEOUT_SECONDS + 5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
