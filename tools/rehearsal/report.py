"""The report of a rehearsal: a table on the terminal and in Markdown, and timelines as pictures."""

import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tools.rehearsal import timeline
from tools.rehearsal.writes import Write, read_lines

HEADINGS = "case|outcome|sent|failed|longest gap|p50|p99|slowest|writes|lost|versions".split("|")
EVERYTHING = "all of it"


@dataclass(frozen=True)
class Case:
    """A case of the rehearsal. Times are Unix seconds."""

    name: str
    started: float
    ended: float
    passed: bool
    evidence: str
    """What the case observed."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A version, and the Unix times of its first and last health answer."""

    version: str
    first: float
    last: float


@dataclass(kw_only=True)
class Figures:
    """Figures of the requests due in a time span. Durations are seconds; None without data."""

    sent: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """Number by kind and status: `read 502`. Any result except 200 within the time limit is a failure."""
    longest_gap: float | None = None
    """The longest time without a success while traffic ran."""
    p50: float | None = None
    p99: float | None = None
    slowest: float | None = None
    acknowledged: int = 0
    lost: int | None = None
    """Acknowledged writes that are missing from the database; None: not checked."""
    versions: list[Seen] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return self.failures.total()


type Streams = dict[str, list[dict[str, Any]]]
"""Requests by the name of their file. Gaps are computed for each stream separately."""


def write_report(folder: Path, cases: Sequence[Case], lost: Sequence[Write] | None = None) -> None:
    """Read requests*.jsonl and events.jsonl; write report.md and the timelines, and print the table.

    Args:
        folder: contains the input, and receives the output.
        cases: in the order of the report.
        lost: the result of `lost_writes`; None: not checked.
    """
    streams = {file.stem: read_lines(file) for file in sorted(folder.glob("requests*.jsonl"))}
    events = read_lines(folder / "events.jsonl") if (folder / "events.jsonl").exists() else []
    every = [
        *[(case, figures(streams, case.started, case.ended, lost)) for case in cases],
        (None, figures(streams, float("-inf"), float("inf"), lost)),
    ]
    pictures = timeline.draw(folder, streams, events, cases)
    _print(every)
    markdown = _markdown(every, pictures)
    (folder / "report.md").write_text("\n".join(markdown))
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a") as file:  # GitHub's summary can't show local pictures
            file.write("\n".join(line for line in markdown if not line.startswith("![")))


def figures(streams: Streams, started: float, ended: float, lost: Sequence[Write] | None = None) -> Figures:
    """Return the figures of the requests due in [started, ended)."""
    requests = [line for lines in streams.values() for line in lines if started <= line["start"] < ended]
    result = Figures(sent=len(requests))
    seconds = sorted(line["seconds"] for line in requests if line["status"] == 200)
    if seconds:
        result.p50, result.p99, result.slowest = quantile(seconds, 0.5), quantile(seconds, 0.99), seconds[-1]
    answers: dict[str, list[float]] = defaultdict(list)
    for line in requests:
        if line["status"] != 200:
            result.failures[f"{line['kind']} {line['status']}"] += 1
        elif line["kind"] == "health":
            answers[line["version"]].append(line["start"] + line["seconds"])
        elif line["kind"] == "write":
            result.acknowledged += 1
    seen = [Seen(version=version, first=min(at), last=max(at)) for version, at in answers.items()]
    result.versions = sorted(seen, key=lambda each: each.first)
    result.longest_gap = max(_gaps(streams, started, ended), default=None)
    if lost is not None:
        result.lost = sum(started <= write.start < ended for write in lost)
    return result


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the quantile by the nearest-rank method."""
    return ordered[math.ceil(share * len(ordered)) - 1]


def _gaps(streams: Streams, started: float, ended: float) -> Iterator[float]:
    for lines in streams.values():
        if not lines:
            continue
        # The time before and after the traffic is no gap.
        begin = max(started, min(line["start"] for line in lines))
        end = min(ended, max(line["start"] + line["seconds"] for line in lines))
        good = sorted(line["start"] + line["seconds"] for line in lines if line["status"] == 200)
        if begin < end:
            yield from (later - earlier for earlier, later in pairwise([begin, *_within(good, begin, end), end]))


def _within(moments: Sequence[float], begin: float, end: float) -> list[float]:
    return [at for at in moments if begin <= at <= end]


type Row = tuple[Case | None, Figures]


def _print(rows: Sequence[Row]) -> None:
    table = Table(*HEADINGS, title="Rehearsal")
    for column in table.columns[2:-1]:
        column.justify = "right"
    for case, result in rows:
        cells = [Text(cell) for cell in _cells(case, result)]
        if case:
            cells[1].style = "green" if case.passed else "bold red"
        cells[3].style = "bold red" if result.failed else ""
        cells[9].style = "bold red" if result.lost else ""
        if case is None:
            table.add_section()
        table.add_row(*cells)
    Console(width=None if Console().is_terminal else 200).print(table)


def _markdown(rows: Sequence[Row], pictures: Sequence[Path]) -> list[str]:
    lines = ["# Rehearsal", "", f"| {' | '.join(HEADINGS)} |", f"| --- | --- |{' ---: |' * 8} --- |"]
    lines += [f"| {' | '.join(_escape(cell) for cell in _cells(case, result))} |" for case, result in rows]
    for number, (case, result) in enumerate(rows, 1):
        if case is None:
            continue
        lines += ["", f"## {_escape(case.name)}", "", f"{_outcome(case)}. {case.evidence}"]
        if result.failures:
            lines += ["", *(f"- {count}x {_escape(what)}" for what, count in result.failures.most_common())]
        if result.versions:
            lines += ["", "| version | first answer | last answer |", "| --- | ---: | ---: |"]
            lines += [
                f"| `{each.version}` | {each.first - case.started:.2f} s | {each.last - case.started:.2f} s |"
                for each in result.versions
            ]
        lines += [
            "",
            *(f"![{_escape(case.name)}]({each.name})" for each in pictures if each.stem.endswith(f"-{number}")),
        ]
    lines += [
        "",
        "Times are seconds since the case began. Any result except 200 within 10 s is a failure; nothing is retried.",
    ]
    lines += ["", *(f"![All of it]({each.name})" for each in pictures if each.stem == "timeline"), ""]
    return lines


def _cells(case: Case | None, result: Figures) -> list[str]:
    return [
        case.name if case else EVERYTHING,
        _outcome(case) if case else "",
        str(result.sent),
        str(result.failed),
        _duration(result.longest_gap),
        _duration(result.p50),
        _duration(result.p99),
        _duration(result.slowest),
        str(result.acknowledged),
        "-" if result.lost is None else str(result.lost),
        " → ".join(each.version for each in result.versions),
    ]


def _outcome(case: Case) -> str:
    return "passed" if case.passed else "FAILED"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _escape(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
