"""Measurements, the ratios between contenders, and the aims. Only ratios of one round are compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from tools.bench import contenders, workloads

OURS = "audifi"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One run of wrk against one contender."""

    contender: str
    workload: str
    round: int
    requests: int
    failed: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """Of the contender's process, for each request."""
    cores: tuple[float, ...]
    """How busy each core of the machine was: 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Resident set size before and after load."""

    idle_mb: float
    after_mb: float
    requests: int


@dataclass(frozen=True, kw_only=True)
class Statements:
    """What one request asks of the database."""

    statements: float
    """With BEGIN and COMMIT."""
    round_trips: float


@dataclass(frozen=True, kw_only=True)
class Results:
    """All that a run measured; what it left out is empty."""

    samples: Sequence[Sample] = ()
    starts: Mapping[str, Sequence[float]]
    memory: Mapping[str, Memory]
    statements: Mapping[str, Mapping[str, Statements]]
    transactions_per_read: Mapping[str, float]
    about: Mapping[str, str]


@dataclass(frozen=True)
class Spread:
    """Median, minimum and maximum of the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """
        Raises:
            ValueError: there is no value.
        """
        if not values:
            raise ValueError("no values")
        return cls(median(values), min(values), max(values))

    def __str__(self) -> str:
        if self.low == self.high:
            return digits(self.median)
        return f"{digits(self.median)} ({digits(self.low)} to {digits(self.high)})"


def digits(value: float) -> str:
    """Return three digits, at most two of them after the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratios(samples: Sequence[Sample], peer: str, workload: str, measure: str) -> list[float]:
    """Return this server's measure divided by the peer's, for each round that has both."""

    def by_round(contender: str) -> dict[int, Sample]:
        return {each.round: each for each in samples if (each.contender, each.workload) == (contender, workload)}

    ours, theirs = by_round(OURS), by_round(peer)
    return [
        getattr(ours[number], measure) / getattr(theirs[number], measure)
        for number in ours.keys() & theirs.keys()
        if ours[number].requests and theirs[number].requests
    ]


@dataclass(frozen=True, kw_only=True)
class Aim:
    """A bound, and the measured values of which the median decides."""

    text: str
    unit: str = "x"
    at_least: float | None = None
    at_most: float | None = None
    below: float | None = None
    spread: Spread

    @property
    def met(self) -> bool:
        value = self.spread.median
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    @property
    def bound(self) -> str:
        bounds = {"≥": self.at_least, "≤": self.at_most, "<": self.below}
        return " ".join(f"{sign} {value:g} {self.unit}" for sign, value in bounds.items() if value is not None).strip()


# At least this share of a peer's requests per second.
THROUGHPUT = {
    "health": {"fastify": 0.85, "fastapi": 8},
    "401": {"fastify": 0.6, "fastapi": 8},
    "list": {"fastify": 0.75, "express": 1.1, "fastapi": 8},
    "read": {"fastify": 0.75, "express": 1.1, "fastapi": 8},
    "write": {"fastify": 1.1, "fastapi": 8},
}
P99_PEERS = ("fastify", "express")
WRITE_ROUND_TRIPS = 2
TRANSACTIONS_PER_READ = 1
START_OF_EXPRESS = 2
IDLE_MEMORY_MB = 100


def aims(results: Results) -> list[Aim]:
    """Return the aims that have measurements."""
    measured: list[Aim] = []

    def add(text: str, values: Sequence[float], unit: str = "x", **bound: float) -> None:
        if values:
            measured.append(Aim(text=text, unit=unit, spread=Spread.of(values), **bound))

    for workload, peers in THROUGHPUT.items():
        title = workloads.TITLES[workload]
        for peer, share in peers.items():
            name = contenders.TITLES[peer]
            add(f"{title}: throughput of {name}", ratios(results.samples, peer, workload, "per_second"), at_least=share)
        for peer in P99_PEERS:
            name = contenders.TITLES[peer]
            add(f"{title}: p99 of {name}", ratios(results.samples, peer, workload, "p99_ms"), at_most=1)
    if write := results.statements.get(OURS, {}).get("write"):
        add("write: round trips", [write.round_trips], "", at_most=WRITE_ROUND_TRIPS)
    if OURS in results.transactions_per_read:
        text = "read of one row under load: account statements"
        add(text, [results.transactions_per_read[OURS]], "", below=TRANSACTIONS_PER_READ)
    add("start: time of Express", start_ratios(results, "express"), at_most=START_OF_EXPRESS)
    if OURS in results.memory:
        add("memory when idle", [results.memory[OURS].idle_mb], "MB", at_most=IDLE_MEMORY_MB)
    return measured


def start_ratios(results: Results, peer: str) -> list[float]:
    return [
        ours / theirs for ours, theirs in zip(results.starts.get(OURS, ()), results.starts.get(peer, ()), strict=False)
    ]
