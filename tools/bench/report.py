"""The tables: ratios, with the least and the greatest of all rounds in parentheses."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from tools.bench import ratios
from tools.bench.contenders import CONTENDERS, SERVER_CORE
from tools.bench.database import TOKENS
from tools.bench.load import WORKLOADS
from tools.bench.measure import CONNECTIONS
from tools.bench.ratios import Sample, Spread

MEASURES = {"per_second": "requests/s", "p50_ms": "p50", "p99_ms": "p99", "cpu_us": "CPU a request"}
TITLES = {each.name: each.title for each in CONTENDERS}
KINDS = {each.name: each.title for each in WORKLOADS}
MOMENTS = {"idle": "idle", "load": "under load", "after": "after the requests"}


@dataclass(frozen=True)
class Table:
    title: str
    header: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        return f"### {self.title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def rich(self) -> RichTable:
        table = RichTable(*self.header, title=self.title, title_justify="left")
        for row in self.rows:
            table.add_row(*row)
        return table


def show(results: dict[str, Any], console: Console) -> None:
    for table in tables(results):
        console.print(table.rich())


def tables(results: dict[str, Any]) -> list[Table]:
    """Those of which there are measurements."""
    samples: list[Sample] = results["samples"]
    made = [
        aims(results),
        *(throughput(samples, connections) for connections in (CONNECTIONS, 1, 512)),
        one_token(results["one_token"]),
        starts(results["starts"]),
        memory(results["memory"]),
        trips(results["trips"]),
        growth(results["growth"]),
        processes(results["processes"]),
        cores(samples),
        failures([*samples, *results["growth"], *results["processes"], *results["one_token"]]),
    ]
    return [each for each in made if each.rows]


def aims(results: dict[str, Any]) -> Table:
    found = ratios.aims(results["samples"], results["starts"], results["memory"])
    rows = [[aim.text, aim.bound, str(aim.spread), aim.verdict] for aim in found]
    return Table("Aims", ["this server's", "aim", "measured", ""], rows)


def compared(ours: Sequence[Sample], theirs: Sequence[Sample]) -> list[str]:
    """A cell for each measure."""
    found = [ratios.per_round(ours, theirs, measure) for measure in MEASURES]
    return [str(Spread.of(values)) if values else "" for values in found]


def throughput(samples: Sequence[Sample], connections: int) -> Table:
    rows = []
    for workload, title in KINDS.items():
        of = ratios.select(samples, workload=workload, connections=connections)
        ours = ratios.select(of, contender="audifi")
        for peer, name in TITLES.items():
            theirs = ratios.select(of, contender=peer)
            if peer != "audifi" and ours and theirs:
                rows.append([title, name, *compared(ours, theirs)])
    title = f"This server by each other, at {connections} connection{'s' if connections > 1 else ''}"
    return Table(title, ["", "by", *MEASURES.values()], rows)


def one_token(samples: Sequence[Sample]) -> Table:
    rows = []
    for name, title in TITLES.items():
        one, many = (ratios.select(samples, contender=name, tokens=tokens) for tokens in (1, TOKENS))
        if one and many:
            rows.append([title, *compared(one, many)])
    return Table(
        f"The authenticated read with one token for all, by that with {TOKENS:,}", ["", *MEASURES.values()], rows
    )


def starts(found: dict[str, list[float]]) -> Table:
    ours = found.get("audifi", [])
    rows = [
        [TITLES[peer], str(Spread.of([a / b for a, b in zip(ours, seconds, strict=True)]))]
        for peer, seconds in found.items()
        if peer != "audifi" and ours
    ]
    return Table("From exec to the first healthy answer, this server by each other", ["by", "time"], rows)


def memory(found: dict[str, dict[str, Any]]) -> Table:
    rows = []
    for name, of in found.items():
        sizes = [" / ".join(f"{of[moment][kind]:.0f}" for kind in ("rss", "pss", "uss")) for moment in MOMENTS]
        growth = of["after"]["rss"] / of["idle"]["rss"]
        rows.append([TITLES[name], *sizes, ratios.digits(growth), f"{of['requests']:,}"])
    return Table("Memory in MB: RSS / PSS / USS", ["", *MOMENTS.values(), "RSS after : idle", "requests"], rows)


def trips(found: dict[str, dict[str, dict[str, float]]]) -> Table:
    kinds = [name for name in KINDS if any(name in of for of in found.values())]
    rows = [
        [TITLES[name], *(f"{of[kind]['statements']:.2f} / {of[kind]['round_trips']:.2f}" for kind in kinds)]
        for name, of in found.items()
    ]
    return Table(
        "Statements (BEGIN and COMMIT are some) / round trips to the database, for each request",
        ["", *(KINDS[kind] for kind in kinds)],
        rows,
    )


def growth(samples: Sequence[Sample]) -> Table:
    """By the fewest users."""
    numbers = sorted({each.users for each in samples})
    rows = []
    for name, workload, users in ((n, w, u) for n in TITLES for w in KINDS for u in numbers[1:]):
        of = ratios.select(samples, contender=name, workload=workload)
        many, few = (ratios.select(of, users=number) for number in (users, numbers[0]))
        if many and few:
            rows.append([TITLES[name], KINDS[workload], f"{users:,}", *compared(many, few)])
    title = f"As users grow: each by itself with {numbers[0]:,} users" if numbers else ""
    return Table(title, ["", "", "users", *MEASURES.values()], rows)


def processes(samples: Sequence[Sample]) -> Table:
    rows = []
    for workload, title in KINDS.items():
        one, two = (ratios.select(samples, workload=workload, processes=number) for number in (1, 2))
        if one and two:
            rows.append([title, *compared(two, one)])
    return Table("Two processes of this server by one, on both cores", ["", *MEASURES.values()], rows)


def cores(samples: Sequence[Sample]) -> Table:
    """Who was the limit: a server that hasn't all of its core waited for PostgreSQL or wrk, or for others' programs."""
    rows = []
    for name, title in TITLES.items():
        cells = []
        for workload in KINDS:
            of = ratios.select(samples, contender=name, workload=workload, connections=CONNECTIONS)
            own = [each.cpu_us * each.per_second / 1e6 for each in of]
            other = [max(each.cores[:SERVER_CORE] + each.cores[SERVER_CORE + 1 :], default=0) for each in of]
            cells.append(f"{median(own):.0%} / {median(other):.0%}" if of else "")
        if any(cells):
            rows.append([title, *cells])
    title = (
        f"At {CONNECTIONS} connections: the server's share of its core / how busy the core of PostgreSQL and wrk was"
    )
    return Table(title, ["", *KINDS.values()], rows)


def failures(samples: Sequence[Sample]) -> Table:
    rows = [
        [TITLES[each.contender], KINDS[each.workload], str(each.connections), f"{each.failed} of {each.requests}"]
        for each in samples
        if each.failed
    ]
    return Table("Requests that failed", ["", "", "connections", ""], rows)
