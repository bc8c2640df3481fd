"""Draws the timeline of a rehearsal, and a more detailed one of each case.

Panels from the top: cases, versions that answered health, requests per second, failures, latency, machines.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

if TYPE_CHECKING:
    from tools.rehearsal.report import Case

WIDTH_INCHES = 16
ROW_INCHES = 0.27
TEXT_SHARE = 0.0062  # width of a character, as a share of the picture's
AROUND_A_CASE_SECONDS = 2
# A version's band ends when it hasn't answered for this time.
SILENCE_SECONDS = 0.5
GREEN, RED, GREY = "#2e7d32", "#d50000", "#9e9e9e"
# The colour-blind-safe palette of Okabe and Ito, without the colours close to GREEN and RED.
COLOURS = ("#0072b2", "#e69f00", "#56b4e9", "#cc79a7", "#8c6bb1", "#b8a500", "#7f5539")

# Marks on a machine's bar: names of the event, marker, colour, and offset from the bar's middle, which keeps marks at
# nearly the same time apart.
MARKS = {
    "healthy": ({"machine healthy", "check passing"}, "o", GREEN, 0.22),
    "takes traffic": ({"takes traffic", "uncordoned"}, ">", "#0d47a1", -0.22),
    "unhealthy": ({"machine unhealthy", "check critical", "crashed"}, "X", RED, 0.22),
    "cordoned": ({"cordoned"}, "s", "#ef6c00", 0.22),
    "SIGTERM": ({"SIGTERM", "SIGINT"}, "v", "#4a148c", -0.22),
    "SIGKILL": ({"SIGKILL"}, "P", RED, -0.22),
    "anything else": (set[str](), "|", "#424242", 0),
}
ENDS = {"stopped", "destroyed", "machine stopped", "machine destroyed", "release command ended"}
BEGINS = {"created", "started", "machine started", "release command started"}

type Line = dict[str, Any]


@dataclass(frozen=True)
class Machine:
    """The events of a machine, or of an app where an event names no machine."""

    name: str
    events: list[Line]

    @property
    def start(self) -> float:
        return float(self.events[0]["at"])

    def end(self, otherwise: float) -> float:
        return next((float(event["at"]) for event in self.events if event["event"] in ENDS), otherwise)

    @property
    def version(self) -> str:
        return next((event["version"] for event in self.events if event.get("version")), "")

    @property
    def is_release_command(self) -> bool:
        return any("release command" in f"{event['event']} {event.get('detail', '')}" for event in self.events)


def draw(
    folder: Path, streams: Mapping[str, Sequence[Line]], events: Sequence[Line], cases: Sequence["Case"]
) -> list[Path]:
    """Write timeline.svg and timeline-1.svg …; return the files, none if there is no data.

    Args:
        folder: receives the pictures.
        streams: lines of requests by stream.
        events: events of machines.
        cases: each has burst own picture.
    """
    moments = [line["start"] + line["seconds"] for lines in streams.values() for line in lines]
    moments += [line["start"] for lines in streams.values() for line in lines]
    moments += [event["at"] for event in events] + [at for case in cases for at in (case.started, case.ended)]
    if not moments:
        return []
    begin, end = min(moments), max(moments)
    lines = sorted([*events, *_all(streams)], key=lambda line: float(line.get("at") or line["start"]))
    versions = dict.fromkeys(line["version"] for line in lines if line.get("version"))
    colours = {version: COLOURS[number % len(COLOURS)] for number, version in enumerate(versions)}
    spans = {"timeline": (begin, begin, end)}
    for number, case in enumerate(cases, 1):
        left, right = case.started - AROUND_A_CASE_SECONDS, case.ended + AROUND_A_CASE_SECONDS
        spans[f"timeline-{number}"] = (case.started, max(begin, left), min(end, right))
    files = []
    for name, (zero, left, right) in spans.items():
        picture = Picture(zero, left, max(right, left + 0.1), colours)
        picture.take(streams, events, cases)
        files.append(folder / f"{name}.svg")
        with mpl.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
            picture.figure().savefig(files[-1], facecolor="white")
    return files


def _all(streams: Mapping[str, Sequence[Line]]) -> list[Line]:
    return [line for lines in streams.values() for line in lines]


class Picture:
    """The time from `begin` to `end`, labelled in seconds since `zero`."""

    def __init__(self, zero: float, begin: float, end: float, colours: Mapping[str, str]) -> None:
        self._zero = zero
        self._begin = begin
        self._end = end
        self._colours = colours
        self._bin = next(size for size in (0.1, 0.2, 0.5, 1, 2, 5, math.inf) if (end - begin) / size <= 600)

    def take(self, streams: Mapping[str, Sequence[Line]], events: Sequence[Line], cases: Sequence["Case"]) -> None:
        """Select the data to draw."""
        self._requests = [line for line in _all(streams) if self._begin <= line["start"] <= self._end]
        self._cases = [case for case in cases if case.started < self._end and case.ended > self._begin]
        answers: dict[tuple[str, str], list[float]] = defaultdict(list)
        for stream, lines in streams.items():
            name = stream.removeprefix("requests").strip("-") if len(streams) > 1 else ""
            for line in lines:
                at = line["start"] + line["seconds"]
                if line["kind"] == "health" and line["status"] == 200 and self._begin <= at <= self._end:
                    answers[name, line["version"]].append(at)
        self._answers = sorted((sorted(at), *key) for key, at in answers.items())
        by_machine: dict[tuple[str, str], list[Line]] = defaultdict(list)
        for event in sorted(events, key=lambda event: float(event["at"])):
            by_machine[event.get("app", ""), event.get("machine", "")].append(event)
        several = len({app for app, _ in by_machine}) > 1
        machines = [
            Machine(" ".join(filter(None, (app if several or not id_ else "", id_[:8]))), machine_events)
            for (app, id_), machine_events in by_machine.items()
        ]
        self._machines = [each for each in machines if each.start <= self._end and each.end(self._end) >= self._begin]

    def figure(self) -> Figure:
        panels = [
            (self._draw_cases, ROW_INCHES * 1.3 * len(self._cases)),
            (self._draw_versions, ROW_INCHES * 1.2 * len(self._answers)),
            (self._draw_rate, 1.3 if self._requests else 0),
            (self._draw_failures, 0.8 if self._requests else 0),
            (self._draw_latency, 1.6 if self._requests else 0),
            (self._draw_machines, ROW_INCHES * 1.4 * len(self._machines) + (0.1 if self._machines else 0)),
        ]
        panels = [(panel, max(height, 0.4)) for panel, height in panels if height]
        gap, above, below = 0.42, 0.5, 1.0
        height = sum(size for _, size in panels) + gap * (len(panels) - 1) + above + below
        figure = Figure(figsize=(WIDTH_INCHES, height))
        top = height - above
        for panel, size in panels:
            axes = figure.add_axes((0.2, (top - size) / height, 0.785, size / height))
            axes.set_xlim(self._begin - self._zero, self._end - self._zero)
            axes.grid(axis="x", color="#e0e0e0", linewidth=0.7)
            axes.set_axisbelow(True)
            for case in self._cases:
                axes.axvspan(
                    *self._within(case.started, case.ended), color=GREEN if case.passed else RED, alpha=0.07, lw=0
                )
            axes.tick_params(labelbottom=panel is panels[-1][0], length=3)
            panel(axes)
            top -= size + gap
        clock = datetime.fromtimestamp(self._zero, UTC)
        figure.axes[-1].set_xlabel(f"seconds since {clock:%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC")
        return figure

    def _draw_cases(self, axes: Axes) -> None:
        axes.set_title("Cases", loc="left", fontsize=10, fontweight="bold")
        for row, case in enumerate(self._cases):
            colour = GREEN if case.passed else RED
            left, right = self._within(case.started, case.ended)
            axes.barh(row, right - left, left=left, height=0.75, color=colour, alpha=0.85)
            self._say(axes, row, left, right, f"{case.name}: {'✓ passed' if case.passed else '✗ FAILED'}")
        self._rows(axes, [""] * len(self._cases))

    def _draw_versions(self, axes: Axes) -> None:
        axes.set_title("Versions that answered health", loc="left", fontsize=10, fontweight="bold")
        for row, (moments, _, version) in enumerate(self._answers):
            breaks = [0, *(n for n, (a, b) in enumerate(pairwise(moments), 1) if b - a > SILENCE_SECONDS), len(moments)]
            for first, after in pairwise(breaks):
                left, right = self._within(moments[first], moments[after - 1])
                # Wide enough that a single answer is visible.
                width = max(right - left, (self._end - self._begin) / 800)
                axes.barh(row, width, left=left, height=0.75, color=self._colours[version])
        self._rows(axes, [f"{stream} {version}".strip() for _, stream, version in self._answers])

    def _draw_rate(self, axes: Axes) -> None:
        axes.set_title("Requests per second: good and failed", loc="left", fontsize=10, fontweight="bold")
        bins = math.ceil((self._end - self._begin) / self._bin)
        good, failed = [0.0] * bins, [0.0] * bins
        for line in self._requests:
            counts = good if line["status"] == 200 else failed
            counts[self._bin_of(line)] += 1 / self._bin
        edges = [self._moment(number) for number in range(bins + 1)]
        axes.stairs(good, edges, fill=True, color="#90a4ae")
        axes.stairs([a + b for a, b in zip(good, failed, strict=True)], edges, baseline=good, fill=True, color=RED)
        axes.set_ylim(bottom=0)

    def _draw_failures(self, axes: Axes) -> None:
        failures: dict[int, list[Line]] = defaultdict(list)
        for line in self._requests:
            if line["status"] != 200:
                failures[self._bin_of(line)].append(line)
        total = sum(map(len, failures.values()))
        axes.set_title(f"Failures: {total or 'none'}", loc="left", fontsize=10, fontweight="bold")
        axes.vlines([self._moment(number + 0.5) for number in failures], 0, 0.35, color=RED, linewidth=1.5)
        axes.set_ylim(0, 1)
        axes.set_yticks([])
        whole = self._end - self._begin
        bursts: list[list[Line]] = []
        for number in sorted(failures):
            burst = sorted(failures[number], key=lambda line: float(line["start"]))
            if bursts and burst[0]["start"] - bursts[-1][-1]["start"] < whole / 50:
                bursts[-1] += burst
            else:
                bursts.append(burst)
        free = [-math.inf] * 2  # the end of the text in each of two lines
        for burst in bursts:
            statuses = Counter(str(line["status"]) for line in burst)
            text = ", ".join(f"{count}x {status}" for status, count in statuses.most_common(2))
            text += " …" if len(statuses) > 2 else ""
            width = whole * TEXT_SHARE * len(text)
            x = min(burst[0]["start"], self._end - width) - self._zero
            for row, end in enumerate(free):
                if x > end:
                    free[row] = x + width
                    axes.text(x, 0.42 + 0.3 * row, text, color=RED, fontsize=9)
                    break

    def _draw_latency(self, axes: Axes) -> None:
        unit = f"{self._bin * 1000:.0f} ms" if self._bin < 1 else f"{self._bin:.0f} s"
        axes.set_title(f"Latency of good answers, per {unit}, in ms", loc="left", fontsize=10, fontweight="bold")
        bins: dict[int, list[float]] = defaultdict(list)
        for line in self._requests:
            if line["status"] == 200:
                bins[self._bin_of(line)].append(line["seconds"] * 1000)
        for share, colour, label in ((0.99, "#ad1457", "p99"), (0.5, "#455a64", "p50")):
            points = [
                (self._moment(number + 0.5), sorted(bins[number])[math.ceil(share * len(bins[number])) - 1])
                if number in bins
                else (self._moment(number + 0.5), math.nan)
                for number in range(max(bins, default=-1) + 1)
            ]
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.2, label=label) if points else None
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.minorticks_off()
        axes.grid(axis="y", color="#e0e0e0", linewidth=0.7)
        self._explain(axes)

    def _draw_machines(self, axes: Axes) -> None:
        axes.set_title("Machines, from start to stop", loc="left", fontsize=10, fontweight="bold")
        used = set()
        for row, machine in enumerate(self._machines):
            left, right = self._within(machine.start, machine.end(self._end))
            release = machine.is_release_command
            axes.barh(
                row,
                max(right - left, (self._end - self._begin) / 800),
                left=left,
                height=0.62,
                color=self._colours.get(machine.version, GREY),
                alpha=0.75,
                hatch="////" if release else None,
                edgecolor="white",
            )
            for event in machine.events:
                if event["event"] in BEGINS | ENDS or not self._begin <= event["at"] <= self._end:
                    continue
                sign = next((name for name, mark in MARKS.items() if event["event"] in mark[0]), "anything else")
                used.add(sign)
                _, marker, colour, above = MARKS[sign]
                axes.plot(
                    event["at"] - self._zero,
                    row - above,
                    marker,
                    color=colour,
                    markersize=8,
                    markeredgecolor=colour if marker == "|" else "white",
                    clip_on=False,
                )
            if release:
                self._say(axes, row, right, right, "release command")
        names = [f"{each.name}  {each.version.partition('+')[2] or each.version}" for each in self._machines]
        self._rows(axes, names)
        for name, (_, marker, colour, _) in MARKS.items():
            if name in used:
                axes.plot([], [], marker, color=colour, markersize=8, label=name)
        self._explain(axes)

    def _explain(self, axes: Axes) -> None:
        """Draw a legend beside the title."""
        if axes.get_legend_handles_labels()[0]:
            axes.legend(
                loc="lower right",
                bbox_to_anchor=(1, 1),
                ncols=len(MARKS),
                frameon=False,
                borderaxespad=0,
                handlelength=1,
            )

    def _rows(self, axes: Axes, names: Sequence[str]) -> None:
        """Label the rows, the first on top."""
        axes.set_yticks(range(len(names)), names, fontfamily="monospace", fontsize=9)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)

    def _say(self, axes: Axes, row: int, left: float, right: float, text: str) -> None:
        """Write text inside a bar, or beside it if it doesn't fit."""
        whole = self._end - self._begin
        needed = whole * TEXT_SHARE * len(text)
        if right - left > needed:
            axes.text(
                left + whole * 0.005, row, text, va="center_baseline", color="white", fontsize=9, fontweight="bold"
            )
        elif right + needed < self._end - self._zero:
            axes.text(right + whole * 0.005, row, text, va="center_baseline", fontsize=9)
        else:
            axes.text(left - whole * 0.005, row, text, va="center_baseline", fontsize=9, ha="right")

    def _within(self, left: float, right: float) -> tuple[float, float]:
        return max(left, self._begin) - self._zero, min(right, self._end) - self._zero

    def _moment(self, bins: float) -> float:
        return self._begin - self._zero + bins * self._bin

    def _bin_of(self, line: Line) -> int:
        bins = math.ceil((self._end - self._begin) / self._bin)
        return min(int((line["start"] - self._begin) / self._bin), bins - 1)
