"""The tables, on the terminal."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import ratios
from bench.contenders import CONTENDERS
from bench.load import WORKLOADS
from bench.ratios import Sample, Spread

MEASURES = {"per_second": "requests/s", "p50_ms": "p50", "p99_ms": "p99", "cpu_us": "CPU a request"}
TITLES = {each.name: each.title for each in CONTENDERS}


def show(results: dict[str, Any], console: Console) -> None:
    samples: list[Sample] = results["samples"]
    for title, header, rows in tables(results):
        table = Table(*header, title=title, title_justify="left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
    found = ratios.aims(samples, results["starts"], results["memory"])
    table = Table("aim", "bound", "measured", "", title="Aims", title_justify="left")
    for aim in found:
        colour = "green" if aim.met else "red"
        table.add_row(aim.text, aim.bound, str(aim.spread), f"[{colour}]{aim.verdict}[/]")
    console.print(table)


type Rows = tuple[str, list[str], list[list[str]]]


def tables(results: dict[str, Any]) -> list[Rows]:
    made = [throughput(results["samples"], connections) for connections in (64, 1, 512)]
    made += [starts(results["starts"]), memory(results["memory"]), trips(results["trips"])]
    return [each for each in made if each[2]]


def throughput(samples: Sequence[Sample], connections: int) -> Rows:
    rows = []
    for workload in WORKLOADS:
        ours = ratios.select(samples, contender="audifi", workload=workload.name, connections=connections, processes=1)
        for peer, title in TITLES.items():
            theirs = ratios.select(samples, contender=peer, workload=workload.name, connections=connections, processes=1)
            if peer == "audifi" or not (ours and theirs):
                continue
            cells = [Spread.of(ratios.per_round(ours, theirs, measure)) for measure in MEASURES]
            rows.append([workload.title, title, *map(str, cells)])
    title = f"This server by each other, at {connections} connection{'s' if connections > 1 else ''}"
    return title, ["", "by", *MEASURES.values()], rows


def starts(found: dict[str, list[float]]) -> Rows:
    rows = []
    for peer, seconds in found.items():
        if peer != "audifi" and "audifi" in found:
            rows.append([TITLES[peer], str(Spread.of([a / b for a, b in zip(found["audifi"], seconds, strict=True)]))])
    return "From exec to the first healthy answer, this server by each other", ["by", "time"], rows


def memory(found: dict[str, dict[str, Any]]) -> Rows:
    rows = []
    for name, moments in found.items():
        sizes = [f"{moments[at]['rss']:.0f} / {moments[at]['pss']:.0f} / {moments[at]['uss']:.0f}" for at in MOMENTS]
        growth = moments["after"]["rss"] / moments["idle"]["rss"]
        rows.append([TITLES[name], *sizes, f"{growth:.2f}", f"{moments['requests']:,}"])
    return "Memory in MB: RSS / PSS / USS", ["", *MOMENTS.values(), "after : idle", "requests"], rows


MOMENTS = {"idle": "idle", "load": "under load", "after": "after the requests"}


def trips(found: dict[str, dict[str, dict[str, float]]]) -> Rows:
    names = [each for each in WORKLOADS if any(each.name in of for of in found.values())]
    rows = [
        [
            TITLES[name],
            *(f"{of[each.name]['statements']:.2f} / {of[each.name]['round_trips']:.2f}" for each in names),
        ]
        for name, of in found.items()
    ]
    return "Statements / round trips to the database for each request", ["", *(each.title for each in names)], rows
