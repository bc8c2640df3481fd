"""One soak: faults and floods in their order, and the measurements."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

import aiohttp
import psutil

from audifi.serve import KEEP_ALIVE_SECONDS
from tests.support.api import ROOT, Api, environment
from tools.rehearsal.traffic import API, sessions
from tools.soak import proxy
from tools.soak.database import Database
from tools.soak.load import HEALTH_WITHIN_SECONDS, Answer, Load, Person

HEALTH_EVERY_SECONDS = 0.25
QUIET_SECONDS = 6
CLOSED_LOOP_CONNECTIONS = 32


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The phases of a soak, in seconds."""

    rate: float
    """Requests per second of the steady traffic."""
    warm_up: float
    faults: int
    fault: float
    """The duration of a restart or a freeze."""
    between_faults: float
    capacity: float
    overload: float
    times_capacity: float
    """The overload, as a multiple of the measured capacity."""
    rest: float
    """After the overload: uvicorn keeps the objects of a reset connection until its keep-alive time is over."""

    @classmethod
    def of(cls, minutes: float, rate: float) -> "Plan":
        """Return a plan whose faults fill the time that the other phases leave."""
        is_short = minutes < 3
        warm_up, capacity, overload = (4, 2, 5) if is_short else (30, 10, 30)
        fault, between = (4, 9) if is_short else (6, 20)
        rest = between if is_short else KEEP_ALIVE_SECONDS
        left = minutes * 60 - warm_up - 3 * QUIET_SECONDS - 3 * capacity - 2 * overload - 2 * between - rest
        faults = max(3, int(left / (between + fault * 0.75)))
        return cls(
            rate=rate,
            warm_up=warm_up,
            faults=faults,
            fault=fault,
            between_faults=between,
            capacity=capacity,
            overload=overload,
            times_capacity=3 if is_short else 10,
            rest=rest,
        )


@dataclass(frozen=True)
class Fault:
    """A fault, with times on the monotonic clock."""

    name: str
    began: float
    ended: float


@dataclass(frozen=True, kw_only=True)
class Held:
    """The resources of an idle server."""

    when: str
    rss_mb: float
    uss_mb: float
    files: int
    threads: int
    tasks: int
    pool: int
    checked_out: int
    in_work: int
    connections: int
    """Connections as PostgreSQL counts them."""


@dataclass
class Seen:
    """All measurements."""

    plan: Plan
    answers: list[Answer]
    wrong: list[str]
    health: list[Answer] = field(default_factory=list)
    """Responses of the health check, asked by its own client."""
    faults: list[Fault] = field(default_factory=list)
    quiet: list[Fault] = field(default_factory=list)
    """Phases without requests."""
    held: list[Held] = field(default_factory=list)
    floods: dict[str, dict[str, Any]] = field(default_factory=dict)
    """`Flood.result` with `began` and `ended`, by name: warm-up and, through the proxy, capacity, overload, recovered,
    frozen."""


class Soak:
    """The running soak. Call `run`."""

    def __init__(self, plan: Plan, api: Api, database: Database, load: Load) -> None:
        self._plan = plan
        self._api = api
        self._database = database
        self._load = load
        self._process = psutil.Process(api.process.pid)
        self.seen = Seen(plan=plan, answers=load.answers, wrong=load.wrong)

    async def run(self) -> None:
        stop = asyncio.Event()
        steady = asyncio.create_task(self._load.send_until(stop, self._plan.rate))
        watch = asyncio.create_task(self._watch_health())
        await asyncio.sleep(self._plan.warm_up)
        await self._flood("warm-up", self._plan.capacity, port=self._api.port, connections=CLOSED_LOOP_CONNECTIONS)
        await self._note_held("after warm-up")
        await asyncio.sleep(self._plan.between_faults / 2)
        for name, way in islice(cycle(self._database.ways().items()), self._plan.faults):
            await self._fault(name, way)
            await asyncio.sleep(self._plan.between_faults)
        await self._note_held("after the faults")
        if proxy.is_installed():
            with proxy.running(self._api.port) as port:
                await self._overload(port)
            await asyncio.sleep(self._plan.rest)
            await self._note_held("at the end")
        else:
            print(f"\n  skipped: {proxy.ADVICE}")
        stop.set()
        await steady
        watch.cancel()

    async def _overload(self, port: int) -> None:
        """Measure the capacity before and after an overload, which tells a slower server from a slower machine."""
        plan = self._plan
        async with self._paused():
            capacity = await self._flood("capacity", plan.capacity, port=port, connections=CLOSED_LOOP_CONNECTIONS)
            served = capacity["answers"]["200"]["count"] / plan.capacity
            await self._flood("overload", plan.overload, port=port, rate=plan.times_capacity * served)
            await self._flood("recovered", plan.capacity, port=port, connections=CLOSED_LOOP_CONNECTIONS)
        await asyncio.sleep(plan.between_faults)
        async with self._paused():
            frozen = self._flood("frozen", plan.overload + plan.fault, port=port, rate=2 * served)
            flood = asyncio.create_task(frozen)
            await asyncio.sleep(plan.overload / 2)
            await self._fault("freeze", self._database.freeze)
            await flood

    async def _fault(self, name: str, way: Callable[[float], None]) -> None:
        print(f"  {name}", end=" ", flush=True)
        began = time.monotonic()
        await asyncio.to_thread(way, self._plan.fault)
        self.seen.faults.append(Fault(name, began, time.monotonic()))

    @asynccontextmanager
    async def _paused(self) -> AsyncIterator[None]:
        """Pause the steady traffic while the block runs."""
        self._load.is_paused = True
        await self._load.settle()
        try:
            yield
        finally:
            self._load.is_paused = False

    async def _flood(
        self, name: str, seconds: float, *, port: int, rate: float = 0, connections: int = 0
    ) -> dict[str, Any]:
        print(f"\n  {name}", end=" ", flush=True)
        token = self._load.people[0].account.access_token
        arguments = [f"--port={port}", f"--token={token}", f"--seconds={seconds}", f"--rate={rate}"]
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-m", "tools.soak.flood", *arguments, f"--connections={connections}"],
            env=environment(),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, f"the flood {name} failed"
        self.seen.floods[name] = json.loads(output) | {"began": began, "ended": time.monotonic(), "seconds": seconds}
        return self.seen.floods[name]

    async def _note_held(self, when: str) -> None:
        began = time.monotonic()
        async with self._paused():
            await asyncio.sleep(QUIET_SECONDS)
            async with self._load.session.get(f"{self._api.url}/soak") as answer:
                output = await answer.json()
            memory = self._process.memory_full_info()
            held = Held(
                when=when,
                rss_mb=round(memory.rss / 1e6, 1),
                uss_mb=round(memory.uss / 1e6, 1),
                files=self._process.num_fds(),
                threads=self._process.num_threads(),
                connections=await asyncio.to_thread(self._database.connections),
                **{name: output[name] for name in ("tasks", "pool", "checked_out", "in_work")},
            )
        self.seen.held.append(held)
        self.seen.quiet.append(Fault("nothing is asked", began, time.monotonic()))

    async def _watch_health(self) -> None:
        """Record each response of health, with the state of the database in `code`."""
        timeout = aiohttp.ClientTimeout(total=HEALTH_WITHIN_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                began = time.monotonic()
                try:
                    async with session.get(f"{self._api.url}{API}/health") as answer:
                        state = (await answer.json())["dependencies"]["database"]
                        status = answer.status
                except (OSError, aiohttp.ClientError, TimeoutError) as error:
                    state, status = type(error).__name__, 0
                self.seen.health.append(Answer(began, time.monotonic() - began, "watch", status, state))
                await asyncio.sleep(HEALTH_EVERY_SECONDS)


async def soak(plan: Plan, api: Api, database: Database, people: list[Person]) -> tuple[Seen, Load]:
    async with sessions(None, None) as (kept, _):
        load = Load(url=api.url, people=people, session=kept)
        run = Soak(plan, api, database, load)
        await run.run()
    return run.seen, load
