"""The tables of a run: ratios, with the minimum and the maximum of all rounds in parentheses."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from rich.console import Console
from rich.table import Table as RichTable

from tools.bench import contenders, ratios, workloads
from tools.bench.contenders import SERVER_CORE
from tools.bench.load import CONNECTIONS
from tools.bench.ratios import OURS, Results, Spread

MEASURES = {"per_second": "requests/s", "p50_ms": "p50", "p99_ms": "p99", "cpu_us": "CPU per request"}
PEERS = [name for name in contenders.TITLES if name != OURS]


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


def show(results: Results, console: Console) -> None:
    for table in tables(results):
        console.print(table.rich())


def tables(results: Results) -> list[Table]:
    """Return the tables that have measurements."""
    made = [aims(results), throughput(results), starts(results), memory(results), statements(results), cores(results)]
    return [table for table in [*made, failures(results)] if table.rows]


def aims(results: Results) -> Table:
    rows = [[aim.text, aim.bound, str(aim.spread), "met" if aim.met else "not met"] for aim in ratios.aims(results)]
    return Table("Aims", ["this server", "aim", "measured", ""], rows)


def throughput(results: Results) -> Table:
    rows = []
    for workload, title in workloads.TITLES.items():
        for peer in PEERS:
            values = [ratios.ratios(results.samples, peer, workload, measure) for measure in MEASURES]
            if any(values):
                cells = [str(Spread.of(each)) if each else "" for each in values]
                rows.append([title, contenders.TITLES[peer], *cells])
    title = f"This server divided by each other, at {CONNECTIONS} connections"
    return Table(title, ["", "divided by", *MEASURES.values()], rows)


def starts(results: Results) -> Table:
    rows = [
        [contenders.TITLES[peer], str(Spread.of(values))]
        for peer in PEERS
        if (values := ratios.start_ratios(results, peer))
    ]
    title = "From exec to the first healthy answer, this server divided by each other"
    return Table(title, ["divided by", "time"], rows)


def memory(results: Results) -> Table:
    rows = [
        [contenders.TITLES[name], f"{of.idle_mb:.0f}", f"{of.after_mb:.0f}", f"{of.requests:,}"]
        for name, of in results.memory.items()
    ]
    return Table("Memory (RSS) in MB", ["", "idle", "after the requests", "requests"], rows)


def statements(results: Results) -> Table:
    rows = []
    for name, by_workload in results.statements.items():
        cells = [
            f"{of.statements:g} / {of.round_trips:g}" if (of := by_workload.get(workload)) else ""
            for workload in workloads.TITLES
        ]
        transactions = results.transactions_per_read.get(name)
        rows.append([contenders.TITLES[name], *cells, "" if transactions is None else f"{transactions:.2f}"])
    return Table(
        "Statements (with BEGIN and COMMIT) / round trips to the database for each request",
        ["", *workloads.TITLES.values(), f"transactions per read of one row at {CONNECTIONS} connections"],
        rows,
    )


def cores(results: Results) -> Table:
    """Show what was the limit: a server with less than a whole core waited for PostgreSQL or wrk."""

    def cells(contender: str) -> Iterator[str]:
        for workload in workloads.TITLES:
            samples = [each for each in results.samples if (each.contender, each.workload) == (contender, workload)]
            shares = [each.cpu_us * each.per_second / 1e6 for each in samples]
            other = [max(each.cores[:SERVER_CORE] + each.cores[SERVER_CORE + 1 :], default=0) for each in samples]
            yield f"{median(shares):.0%} / {median(other):.0%}" if samples else ""

    rows = [[title, *line] for name, title in contenders.TITLES.items() if any(line := list(cells(name)))]
    return Table(
        "The server's share of its core / how busy the core of PostgreSQL and wrk was",
        ["", *workloads.TITLES.values()],
        rows,
    )


def failures(results: Results) -> Table:
    rows = [
        [contenders.TITLES[each.contender], workloads.TITLES[each.workload], f"{each.failed} of {each.requests}"]
        for each in results.samples
        if each.failed
    ]
    return Table("Failed requests", ["", "", "failed"], rows)
