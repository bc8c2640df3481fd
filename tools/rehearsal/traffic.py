"""Steady traffic, as real clients make it, and what became of each request.

    python -m tools.rehearsal.traffic --url https://audifi-api.fly.dev --out requests.jsonl \
        --refresh-token art1_… --refresh-token art1_… --rate 300 --connect 127.0.0.1:8443 --ca ca.pem

Of nine requests six ask health, two read an account, one changes it. Requests start at their time, however slow the
answers before are, and nothing is tried twice: what a client would have noticed is in the file, one JSON object a line:

    start    unix seconds at which it was due
    seconds  until the whole answer was there, or the failure
    kind     health | read | write | refresh
    status   the answer's, or the name of the error's type
    detail   of a failure: what was said
    single   true when the request had a connection of its own
    version  of health
    user, n  of a write: the n-th of its account sets the display name `write-<n>`; absent if it was never sent

SIGTERM or SIGINT ends it, once everything that was sent is answered.
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
# By what they cost the server: a read as much as seven of health, a write as much as twelve.
KINDS = "health read health health write health read health health".split()
TIMEOUT_SECONDS = 10
# More than an outage of three seconds leaves waiting at 300/s; one that is longer shows as failures at once.
MOST_OUTSTANDING = 1000
# One in so many has a connection of its own. Coprime to the number of kinds, so that each kind has its share.
OWN_CONNECTION_EVERY = 10
# Below the 5 s after which uvicorn closes an idle connection, should there be no proxy in front.
KEPT_SECONDS = 4
REFRESH_SECONDS = 300  # an access token is good for 600
START_TIMEOUT_SECONDS = 30


@dataclass
class Account:
    """A client's session. Whoever holds it writes; so the writes of one come one after the other."""

    refresh_token: str
    access_token: str = ""
    user: str = ""
    writes: int = 0

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access_token}"}


@dataclass
class Traffic:
    """Use `send_until`."""

    url: str
    accounts: Sequence[Account]
    out: TextIO
    kept: ClientSession
    single: ClientSession
    """Its connections are closed after a request."""
    sent: Counter[str] = field(default_factory=Counter)
    """By what became of them: `good`, or a status."""

    def __post_init__(self) -> None:
        self._outstanding: set[asyncio.Task[None]] = set()
        self._idle: asyncio.Queue[Account] = asyncio.Queue()
        for account in self.accounts:
            self._idle.put_nowait(account)

    async def send_until(self, stop: asyncio.Event, rate: float) -> None:
        """Open loop. When this process is late, what was due meanwhile is sent at once, and counts from when it was."""
        began, wall = time.monotonic(), time.time()
        refreshing = asyncio.create_task(self._stay_signed_in())
        for number in count():
            due = number / rate
            wait = began + due - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            if stop.is_set():
                break
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
            SystemExit: it isn't possible.
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
            # The server keeps the user agent beside its record of the change, and with it which write that was.
            headers = account.headers | {"User-Agent": name}
            return await self._ask(session, "PATCH", "/auth/me", headers=headers, json={"display_name": name})
        finally:
            self._idle.put_nowait(account)

    async def _stay_signed_in(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            for account in self.accounts:
                # Without a token all that follows would fail: this alone is asked again, after its failure was noted.
                while await self._refresh_and_note(account) is not None:  # noqa: ASYNC110
                    await asyncio.sleep(1)

    async def _refresh_and_note(self, account: Account) -> str | None:
        start = time.time()
        problem = await self._refresh(account)
        line = {"start": start, "kind": "refresh"}
        self._note(line, time.time() - start, 200 if problem is None else "RefreshFailed", problem or "")
        return problem

    async def _refresh(self, account: Account) -> str | None:
        """Why it failed, if it did."""
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
    """Every name is at one address (curl's --connect-to): the server's certificate is still that of the name."""

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
    """One that keeps its connections, and one that doesn't."""
    proxy = connect if connect and "://" in connect else None
    common: dict[str, Any] = {
        "limit": 0,  # open loop: what bounds connections is MOST_OUTSTANDING
        "ssl": ssl.create_default_context(cafile=ca),
        "resolver": Elsewhere(connect) if connect and not proxy else None,
    }

    def session(connector: TCPConnector) -> ClientSession:
        # Their limit of time is rounded to seconds; ours isn't.
        untimed = aiohttp.ClientTimeout(total=None)
        return ClientSession(connector=connector, proxy=proxy, cookie_jar=aiohttp.DummyCookieJar(), timeout=untimed)

    async with (
        session(TCPConnector(keepalive_timeout=KEPT_SECONDS, **common)) as kept,
        session(TCPConnector(force_close=True, **common)) as single,
    ):
        # aiohttp would send a GET again whose kept connection was closed meanwhile, and has no public switch for it.
        kept._retry_connection = False  # noqa: SLF001
        yield kept, single


def report_problem(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """All but what uvloop says of each TLS connection that is closed while something waits to be sent."""
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
            traffic = Traffic(url=options.url.rstrip("/"), accounts=accounts, out=out, kept=kept, single=single)
            await traffic.sign_in()
            await traffic.send_until(stop, options.rate)
    failed = {status: number for status, number in traffic.sent.items() if status != "good"}
    print(f"traffic: {traffic.sent.total()} requests, {sum(failed.values())} failed {failed or ''}".rstrip())


def main() -> None:
    parser = argparse.ArgumentParser(description="Steady traffic; see the module's docstring.")
    parser.add_argument("--url", required=True, help="the API's, without a path")
    parser.add_argument("--out", required=True, type=Path, help="where the lines go")
    parser.add_argument(
        "--refresh-token", required=True, action="append", help="of a session, which is used up; once for each account"
    )
    parser.add_argument("--rate", type=float, default=300, help="requests a second (%(default)s)")
    parser.add_argument(
        "--connect", help="go there, whatever the host of --url: HOST:PORT, or http://HOST:PORT of a proxy that tunnels"
    )
    parser.add_argument("--ca", help="who signed the server's certificate, in PEM; default: the system's list")
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
    connect: str | None = None,
    ca: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """This program, from its first answer until the block ends, when it is told to stop and waited for."""
    command = [sys.executable, "-m", "tools.rehearsal.traffic", f"--url={url}", f"--out={out}", f"--rate={rate}"]
    command += [f"--refresh-token={each}" for each in refresh_tokens]
    command += [f"--connect={connect}"] if connect else []
    command += [f"--ca={ca}"] if ca else []
    out.unlink(missing_ok=True)
    process = subprocess.Popen(command, env=environment(), cwd=ROOT)
    try:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not (out.exists() and out.stat().st_size):
            assert process.poll() is None, "the traffic ended before it began; why, it said on standard error"
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
