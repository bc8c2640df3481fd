"""Steady traffic of many accounts. Checks the status and the account of each response."""

import asyncio
import json
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import aiohttp
from aiohttp import ClientSession

from tools.rehearsal.traffic import API, Account
from tools.rehearsal.writes import Write

# A refresh token can be used 60 times in 5 minutes; one request of 18 uses one.
KINDS = "read health read refused write read health read write read refused read write health read read refresh read"
# 5 seconds for a connection of the pool, 17 for its statement, and as much again for a busy machine.
ANSWER_WITHIN_SECONDS = 40
HEALTH_WITHIN_SECONDS = 10  # as fly.toml's check
OUTAGE_CODES = {"database.unavailable", "database.busy", "server.overloaded"}
OK, UNAUTHORIZED, UNAVAILABLE = 200, 401, 503


@dataclass(frozen=True, slots=True)
class Answer:
    """The response to one request."""

    start: float
    """When the request was due, on the monotonic clock."""
    seconds: float
    kind: str
    status: int
    """0 if there was no response."""
    code: str = ""

    @property
    def is_good(self) -> bool:
        """Return whether the response is that of a healthy server."""
        return self.status == (UNAUTHORIZED if self.kind == "refused" else OK)


@dataclass
class Person:
    """An account and its acknowledged state."""

    account: Account
    email: str
    acknowledged: int = 0
    """The newest write with a 200."""


@dataclass
class Load:
    """The traffic. Call `send_until`."""

    url: str
    people: Sequence[Person]
    session: ClientSession
    answers: list[Answer] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Responses that must never happen."""

    def __post_init__(self) -> None:
        self.is_paused = False
        self._outstanding: set[asyncio.Task[None]] = set()
        self._idle = list(self.people)

    async def send_until(self, stop: asyncio.Event, rate: float) -> None:
        """Send in an open loop: a request begins at its time, however slow the responses before are."""
        began, kinds = time.monotonic(), KINDS.split()
        for number in count():
            due = began + number / rate
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            if stop.is_set():
                break
            if not self.is_paused:
                self._begin(self._send(number, kinds[number % len(kinds)], due))
        await self.settle()

    async def settle(self) -> None:
        """Wait until all requests are answered."""
        while self._outstanding:
            await asyncio.wait(self._outstanding)

    def _begin(self, sending: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(sending)
        self._outstanding.add(task)
        task.add_done_callback(self._outstanding.discard)

    async def _send(self, number: int, kind: str, due: float) -> None:
        if kind in {"write", "refresh"} and not self._idle:
            kind = "read"  # all accounts wait for a response
        match kind:
            case "health":
                await self.ask(kind, due, "GET", "/health")
            case "refused":
                await self.ask(kind, due, "GET", "/auth/me", headers={"Authorization": "Bearer a.b.c"})
            case "read":
                await self._read(self.people[number % len(self.people)], due)
            case "write":
                await self._alone(self._write, due)
            case "refresh":
                await self._alone(self._refresh, due)

    async def _alone(self, doing: Any, due: float) -> None:
        """Let a person do one thing after the other."""
        person = self._idle.pop(0)
        try:
            await doing(person, due)
        finally:
            self._idle.append(person)

    async def _read(self, person: Person, due: float) -> None:
        acknowledged = person.acknowledged
        status, body = await self.ask("read", due, "GET", "/auth/me", headers=person.account.headers)
        if status == OK:
            self._check_person(person, body)
            shown = int((body["display_name"] or "write-0").removeprefix("write-"))
            if not acknowledged <= shown <= person.account.writes:
                self.wrong.append(f"write {shown} was read after {acknowledged} was acknowledged")

    async def _write(self, person: Person, due: float) -> None:
        account = person.account
        account.writes += 1
        number, name = account.writes, f"write-{account.writes}"
        # The user agent, which the server stores beside its record of the change, tells the number of the write.
        headers = account.headers | {"User-Agent": name}
        status, body = await self.ask("write", due, "PATCH", "/auth/me", headers=headers, json={"display_name": name})
        if status == OK:
            person.acknowledged = number
            self._check_person(person, body)
            if body["display_name"] != name:
                self.wrong.append(f"{name} was answered with {body['display_name']}")
        refused = status == UNAVAILABLE and body["code"] == "server.overloaded"
        self.writes.append(Write(user=account.user, n=number, start=due, acknowledged=status == OK, refused=refused))

    async def _refresh(self, person: Person, due: float) -> None:
        """Refresh until there is a response, as clients do: the token still works if the response got lost."""
        while True:
            tokens = {"refresh_token": person.account.refresh_token}
            status, body = await self.ask("refresh", due, "POST", "/auth/refresh", json=tokens)
            if status == OK:
                person.account.access_token = body["access_token"]
                person.account.refresh_token = body["refresh_token"]
            if status != UNAVAILABLE:
                return
            await asyncio.sleep(1)
            due = time.monotonic()

    def _check_person(self, person: Person, body: dict[str, Any]) -> None:
        if (body["id"], body["email"]) != (person.account.user, person.email):
            self.wrong.append(f"{person.email} was answered with {body['email']}")

    async def ask(self, kind: str, due: float, method: str, path: str, **options: Any) -> tuple[int, dict[str, Any]]:
        """Send a request; return its status, or 0, and its body. Record a response that is not allowed."""
        within = HEALTH_WITHIN_SECONDS if kind == "health" else ANSWER_WITHIN_SECONDS
        try:
            async with (
                asyncio.timeout(within),
                self.session.request(method, self.url + API + path, **options) as answer,
            ):
                body: dict[str, Any] = json.loads(await answer.text())
        except (OSError, aiohttp.ClientError, TimeoutError, ValueError) as error:
            self.wrong.append(f"{kind} got no answer: {type(error).__name__} {error}")
            self.answers.append(Answer(due, time.monotonic() - due, kind, 0))
            return 0, {}
        noted = Answer(due, time.monotonic() - due, kind, answer.status, str(body.get("code", "")))
        self.answers.append(noted)
        if not (noted.is_good or _is_documented(noted, answer, body)):
            self.wrong.append(f"{kind} was answered {answer.status} {str(body)[:200]}")
        return answer.status, body


def _is_documented(noted: Answer, answer: aiohttp.ClientResponse, body: dict[str, Any]) -> bool:
    if noted.status != UNAVAILABLE:
        return False
    if noted.kind == "health":
        return bool(body["dependencies"] == {"database": "disconnected"})
    return (
        noted.code in OUTAGE_CODES
        and answer.content_type == "application/problem+json"
        and int(answer.headers.get("Retry-After", "0")) >= 1
    )
