"""Judges a soak: the outages and the failures."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from tools.soak.load import Answer
from tools.soak.run import Fault, Held, Seen

FULL_SPEED_WITHIN_SECONDS = 10
PROMPT_SECONDS = 1
WINDOW_SECONDS = 1
FULL_SHARE = 0.95
# The probe's result is reused for 1 s, the next attempt gives up after 1.7 s, and the machine is busy.
HEALTH_KNOWS_WITHIN_SECONDS = 4
HEALTH_ANSWERS_WITHIN_SECONDS = 3
FLOODS = {"capacity", "overload", "recovered", "frozen"}
AWAY_AT_LEAST = {"restart", "freeze"}  # the other faults are too short for health to notice
SERVED_SHARE = 0.5  # of the lower capacity: a server that collapses serves next to nothing
# 800 connections share the capacity: a request waits for half a second at 1,600/s, and longer on a busy machine.
SERVED_P99_SECONDS = 10
# A short soak ends before uvicorn frees reset connections (docs/performance.md): 20 MB, and 15 for other caches.
MORE_MEMORY_MB = 60
MORE_FILES = 16  # the pool's connections, which come and go
MORE_TASKS = MORE_THREADS = 2
POOL = 15  # connections of both pools


@dataclass(frozen=True, kw_only=True)
class Outage:
    """A fault from the clients' point of view."""

    fault: Fault
    statuses: Counter[str]
    """Statuses of the requests from its beginning until full speed was back."""
    slowest_seconds: float
    full_speed_seconds: float | None
    """Time after its end."""
    reported_after_seconds: float | None
    """Time after its beginning until health reported it; None if it never did."""
    connected_after_seconds: float | None
    """Time after its end until health was good again."""


def outages(seen: Seen) -> list[Outage]:
    failed = []
    for number, fault in enumerate(seen.faults):
        under_load = any(flood["began"] < fault.began < flood["ended"] for flood in seen.floods.values())
        until = seen.faults[number + 1].began if number + 1 < len(seen.faults) else float("inf")
        seconds = None if under_load else full_speed(seen, fault.ended, until)
        end = fault.ended + (seconds or 0)
        during = [each for each in seen.answers if fault.began - 1 <= each.start <= end]
        health = [each for each in seen.health if fault.began <= each.start < until]
        down = next((each for each in health if each.code == "disconnected"), None)
        up = next((each for each in health if each.start >= fault.ended and each.code == "connected"), None)
        failed.append(
            Outage(
                fault=fault,
                statuses=Counter(_name(each) for each in during),
                slowest_seconds=max((each.seconds for each in during), default=0),
                full_speed_seconds=seconds,
                reported_after_seconds=down.start + down.seconds - fault.began if down else None,
                connected_after_seconds=up.start + up.seconds - fault.ended if up else None,
            )
        )
    return failed


def full_speed(seen: Seen, since: float, until: float) -> float | None:
    """Return the seconds until nearly all requests of three consecutive seconds succeed promptly; None if never."""
    later = [each for each in seen.answers if since <= each.start < until]
    step = WINDOW_SECONDS / 4
    for number in range(int((FULL_SPEED_WITHIN_SECONDS + 10) / step)):
        begin = since + number * step
        windows = [
            [each for each in later if begin + second <= each.start < begin + second + WINDOW_SECONDS]
            for second in range(3)
        ]
        if all(
            len(window) >= FULL_SHARE * seen.plan.rate * WINDOW_SECONDS - 1
            and sum(each.is_good and each.seconds < PROMPT_SECONDS for each in window) >= FULL_SHARE * len(window)
            for window in windows
        ):
            return number * step
    return None


def failures(seen: Seen, lost: list[str]) -> list[str]:
    """Return a sentence for each failure, on a machine of any speed."""
    counted = Counter(seen.wrong)
    failed = [f"{sentence} ({number} times)" for sentence, number in counted.most_common(20)] + lost
    bad = [each for each in seen.answers if not each.is_good and _is_quiet(seen, each, FULL_SPEED_WITHIN_SECONDS)]
    if bad:
        failed.append(f"{len(bad)} requests failed without a fault: {Counter(map(_name, bad))}")
    if silent := [each for each in seen.health if not each.status]:
        failed.append(f"health didn't answer {len(silent)} times: {Counter(each.code for each in silent)}")
    if seen.health[-1].code != "connected":
        failed.append(f"health says {seen.health[-1].code} at the end")
    for flood in sorted(FLOODS & seen.floods.keys()):
        failed += _of_flood(flood, seen.floods[flood])
    return failed + _of_held(seen.held)


def speed_failures(seen: Seen) -> list[str]:
    """Return a sentence for each time and rate that is far from those on a machine with two free cores."""
    failed = []
    for outage in outages(seen):
        failed += _of_outage(outage, is_under_load=not outage.statuses)
    failed += _of_health(seen)
    if "overload" in seen.floods:
        rates = {name: _served_rate(seen.floods[name]) for name in ("capacity", "overload", "recovered")}
        capacity = min(rates["capacity"], rates["recovered"])
        if rates["overload"] < SERVED_SHARE * capacity:
            failed.append(f"overload: {rates['overload']:.0f}/s served of {capacity:.0f}/s")
        p99 = seen.floods["overload"]["answers"].get("200", {"p99": 0})["p99"]
        if p99 > SERVED_P99_SECONDS:
            failed.append(f"overload: the p99 of served requests is {p99} s")
    return failed


def _of_outage(outage: Outage, *, is_under_load: bool) -> list[str]:
    fault, failed = outage.fault, []
    if not is_under_load and (
        outage.full_speed_seconds is None or outage.full_speed_seconds > FULL_SPEED_WITHIN_SECONDS
    ):
        failed.append(f"{fault.name}: full speed wasn't back within {FULL_SPEED_WITHIN_SECONDS} s")
    reported, connected = outage.reported_after_seconds, outage.connected_after_seconds
    if fault.name in AWAY_AT_LEAST and (reported is None or reported > HEALTH_KNOWS_WITHIN_SECONDS):
        failed.append(f"{fault.name}: health reported it after {reported} s")
    if connected is None or connected > HEALTH_KNOWS_WITHIN_SECONDS:
        failed.append(f"{fault.name}: health was good again after {connected} s")
    return failed


def _is_quiet(seen: Seen, answer: Answer, after: float) -> bool:
    """Return whether no fault can have caused the answer."""
    return not any(fault.began - PROMPT_SECONDS <= answer.start <= fault.ended + after for fault in seen.faults)


def _of_health(seen: Seen) -> list[str]:
    """Return health's wrong or late responses."""
    failed = []
    false = [
        each
        for each in seen.health
        if each.code == "disconnected" and _is_quiet(seen, each, HEALTH_KNOWS_WITHIN_SECONDS)
    ]
    if false:
        reported = Counter(_flood_at(seen, each.start) or "no flood" for each in false)
        failed.append(f"health reported an outage without a fault: {dict(reported)}")
    late = [each.seconds for each in seen.health if each.seconds > HEALTH_ANSWERS_WITHIN_SECONDS]
    if late:
        failed.append(
            f"health took {max(late):.1f} s; {len(late)} responses took more than {HEALTH_ANSWERS_WITHIN_SECONDS} s"
        )
    return failed


def _of_flood(name: str, flood: dict[str, Any]) -> list[str]:
    allowed = {"200", "503 server.overloaded", "503 database.busy", "503 proxy"}
    if name == "frozen":
        allowed |= {"503 database.unavailable"}
    failed = [f"{name}: answered {what}" for what in flood["answers"] if what not in allowed]
    failed += [f"{name}: {number} times {what}" for what, number in flood["lost"].items() if number]
    if "200" not in flood["answers"]:
        failed.append(f"{name}: nothing was served")
    return failed


def _served_rate(flood: dict[str, Any]) -> float:
    return float(flood["answers"].get("200", {"count": 0})["count"] / flood["seconds"])


def _of_held(held: list[Held]) -> list[str]:
    first, failed = held[0], []
    for each in held[1:]:
        more: dict[str, tuple[float, float]] = {
            "MB of private memory": (each.uss_mb - first.uss_mb, MORE_MEMORY_MB),
            "file descriptors": (each.files - first.files, MORE_FILES),
            "tasks": (each.tasks - first.tasks, MORE_TASKS),
            "threads": (each.threads - first.threads, MORE_THREADS),
            "connections in the pool": (each.pool, POOL),
            "connections in PostgreSQL": (each.connections, POOL + 1),
            "connections not returned to the pool": (each.checked_out, 1),  # the probe may hold one
            "requests in flight": (each.in_work, 0),
        }
        failed += [
            f"{each.when}: {number:g} {what}, at most {most:g}"
            for what, (number, most) in more.items()
            if number > most
        ]
    return failed


def _flood_at(seen: Seen, at: float) -> str:
    return next((name for name, flood in seen.floods.items() if flood["began"] <= at <= flood["ended"]), "")


def health_during(seen: Seen, flood: dict[str, Any]) -> list[Answer]:
    return [each for each in seen.health if flood["began"] <= each.start <= flood["ended"]]


def _name(answer: Answer) -> str:
    return "good" if answer.is_good else f"{answer.status} {answer.code}".strip()
