"""Ratios between contenders, each of one round, and what is made of them. No figure here stands alone."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One run of wrk against one contender."""

    contender: str
    workload: str
    connections: int
    users: int
    processes: int
    tokens: int
    """How many different ones it sent."""
    round: int
    requests: int
    failed: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """Of the contender's processes, for each request."""
    cores: tuple[float, ...]
    """How busy each core of the machine was, with whatever: 0 to 1."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Spread:
    """A ratio of each round: the middle one, the least and the greatest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """
        Raises:
            ValueError: there are none.
        """
        if not values:
            raise ValueError("no round has both")
        return cls(median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{digits(self.median)} ({digits(self.low)} to {digits(self.high)})"


def digits(value: float) -> str:
    """Three of them, at most two after the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def select(samples: Sequence[Sample], **wanted: object) -> list[Sample]:
    """Those whose fields have these values."""
    return [each for each in samples if all(getattr(each, name) == value for name, value in wanted.items())]


def per_round(ours: Sequence[Sample], theirs: Sequence[Sample], measure: str) -> list[float]:
    """Ours by theirs, for each round that has both: what disturbed the machine meanwhile has disturbed both."""
    others = {each.round: each for each in theirs}
    pairs = [(each, others[each.round]) for each in ours if each.round in others]
    if measure == "cpu_us":
        pairs = [(mine, other) for mine, other in pairs if mine.requests]  # else it is for none
    return [getattr(mine, measure) / getattr(other, measure) for mine, other in pairs if other.requests]


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What was to be reached, and what was."""

    text: str
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "x"
    spread: Spread

    @property
    def met(self) -> bool:
        """The median decides."""
        value = self.spread.median
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    @property
    def verdict(self) -> str:
        if self.met:
            return "met"
        bound = self.at_least if self.at_least is not None else self.at_most
        assert bound is not None
        share = abs(self.spread.median / bound - 1) * 100
        return f"not met: {share:.0f} % too {'low' if self.at_least is not None else 'high'}"

    @property
    def bound(self) -> str:
        sign, value = ("≥", self.at_least) if self.at_least is not None else ("≤", self.at_most)
        return f"{sign} {value:g} {self.unit}"


PEERS = {"fastify": "Fastify", "express": "Express"}


def aims(samples: Sequence[Sample], starts: dict[str, list[float]], memory: dict[str, dict[str, Any]]) -> list[Aim]:
    """Those of which there are measurements."""
    found: list[Aim] = []

    def add(text: str, values: Sequence[float], unit: str = "x", **bound: float) -> None:
        if values:
            found.append(Aim(text=text, unit=unit, spread=Spread.of(values), **bound))

    def ratio(workload: str, peer: str, measure: str = "per_second") -> list[float]:
        ours, theirs = (
            select(samples, contender=name, workload=workload, connections=64, processes=1) for name in ("audifi", peer)
        )
        return per_round(ours, theirs, measure)

    add("health: throughput of Fastify", ratio("health", "fastify"), at_least=1)
    add("health: throughput of Express", ratio("health", "express"), at_least=2)
    add("authenticated read: throughput of Express", ratio("me", "express"), at_least=1.5)
    add("authenticated read: throughput of Fastify", ratio("me", "fastify"), at_least=1)
    for workload, title in (("health", "health"), ("me", "authenticated read")):
        for peer, name in (("fastify", "Fastify"), ("express", "Express")):
            add(f"{title}: p99 of {name}", ratio(workload, peer, "p99_ms"), at_most=1)
    for workload, title in (("health", "health"), ("me", "authenticated read"), ("write", "one-row write")):
        add(f"{title}: throughput of the bare ASGI function", ratio(workload, "bare"), at_least=0.6)
    if starts.keys() >= {"audifi", "express"}:
        pairs = zip(starts["audifi"], starts["express"], strict=True)
        add("start: time of Express", [ours / theirs for ours, theirs in pairs], at_most=2)
    if "audifi" in memory:
        ours = memory["audifi"]
        add("memory when idle", [ours["idle"]["rss"]], "MB", at_most=100)
        after = f"memory after {ours['requests']:,} requests: of that when idle"
        add(after, [ours["after"]["rss"] / ours["idle"]["rss"]], at_most=1.2)
    return found
