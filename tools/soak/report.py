"""Reports a soak as tables, in docs/performance.md between markers, and as a picture."""

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from tools.soak import proxy
from tools.soak.judge import health_during, outages
from tools.soak.load import Answer
from tools.soak.run import Seen

BEGIN, END = "<!-- soak:begin -->", "<!-- soak:end -->"
# Okabe and Ito's colours, which people with any colour vision can distinguish.
COLOURS = {"served": "#009e73", "database.unavailable": "#d55e00", "database.busy": "#e69f00", "rejected": "#56b4e9"}
MAX_BINS = 400
GREY = "#808080"  # readable on white and on black


def markdown(seen: Seen, failed: list[str]) -> str:
    minutes = (max(each.start for each in seen.health) - min(each.start for each in seen.health)) / 60
    lines = [
        f"{minutes:.0f} minutes, {len(seen.answers):,} requests of the steady traffic ({seen.plan.rate:g}/s), "
        f"{len(seen.faults)} faults. " + (f"**{len(failed)} things were wrong.**" if failed else "Nothing was wrong."),
        "",
        "| fault | s | answers until full speed | slowest, s | full speed after, s | health knew after, s | again, s |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for each in outages(seen):
        statuses = (
            ", ".join(f"{number} {what}" for what, number in each.statuses.most_common()) or "under load, see below"
        )
        cells = [
            each.slowest_seconds,
            each.full_speed_seconds,
            each.reported_after_seconds,
            each.connected_after_seconds,
        ]
        seconds = " | ".join("-" if cell is None else f"{cell:.1f}" for cell in cells)
        lines.append(f"| {each.fault.name} | {each.fault.ended - each.fault.began:.1f} | {statuses} | {seconds} |")
    lines += ["", *_overload(seen), "", *_held(seen)]
    return "\n".join(lines)


def _overload(seen: Seen) -> list[str]:
    if "overload" not in seen.floods:
        return [f"No overload: {proxy.ADVICE}."]
    lines = [
        "| load | offered/s | served/s | p50, ms | p99, ms | rejected/s | p99, ms | database.* | health p99, ms |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    names = {
        "capacity": "as much as it can (closed loop)",
        "overload": f"{seen.plan.times_capacity:g} times that",
        "recovered": "as much as it can, afterwards",
        "frozen": "twice, frozen once",
    }
    for name, title in names.items():
        flood = seen.floods[name]
        answers, seconds = flood["answers"], flood["seconds"]
        served = answers.get("200", {"count": 0, "p50": 0, "p99": 0})
        nothing = {"count": 0, "p99": 0}
        shed = [answers.get(f"503 {what}", nothing) for what in ("server.overloaded", "proxy")]
        database = sum(each["count"] for what, each in answers.items() if "database." in what)
        sent = (flood["offered"] - flood["unsent"] or served["count"]) / seconds
        health = sorted(each.seconds for each in health_during(seen, flood))
        cells = [sent, served["count"] / seconds, 1000 * served["p50"], 1000 * served["p99"]]
        cells += [sum(each["count"] for each in shed) / seconds, 1000 * max(each["p99"] for each in shed), database]
        cells += [1000 * health[(len(health) - 1) * 99 // 100]]
        lines.append(f"| {title} | " + " | ".join(f"{cell:,.0f}" for cell in cells) + " |")
    return lines


def _held(seen: Seen) -> list[str]:
    lines = [
        "| held, when nothing is asked | RSS, MB | USS, MB | files | threads | tasks | pool | in PostgreSQL |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for each in seen.held:
        cells = [each.rss_mb, each.uss_mb, each.files, each.threads, each.tasks, each.pool, each.connections]
        lines.append(f"| {each.when} | " + " | ".join(f"{cell:g}" for cell in cells) + " |")
    return lines


def write_into(document: Path, text: str) -> None:
    """Replace the text between the markers; the rest of the file stays."""
    old = document.read_text() if document.exists() else f"# Performance\n\n## Staying up\n\n{BEGIN}\n{END}\n"
    if BEGIN not in old:
        old += f"\n## Staying up\n\n{BEGIN}\n{END}\n"
    new = re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{text}\n{END}", old, flags=re.DOTALL)
    document.write_text(new)


def draw(seen: Seen, file: Path, wall_minus_monotonic: float) -> None:
    """Draw the requests per second by result, health, and the faults. The size of the file is bounded."""
    zero = min(each.start for each in seen.health)
    answers = _answers_by_second(seen, zero, wall_minus_monotonic)
    end = max(max(each, default=0) for each in answers.values()) + 1
    width = math.ceil(end / MAX_BINS)
    style: Any = dict.fromkeys("text.color axes.labelcolor axes.edgecolor xtick.color ytick.color".split(), GREY)
    style |= {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9}
    with mpl.rc_context(style | {"svg.fonttype": "none", "svg.hashsalt": "soak"}):
        figure = Figure(figsize=(12, 4.2), layout="constrained")
        rate, health = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        parts = _stack(rate, answers, bins=math.ceil(end / width), width=width)
        rate.set_yscale("symlog", linthresh=100)
        rate.set_ylabel("answers a second")
        figure.legend(parts.values(), parts, loc="outside lower left", frameon=False, ncols=4)
        _draw_health(health, seen.health, zero, width)
        health.set_ylabel("health, s")
        health.set_xlabel("seconds")
        _mark(seen, rate, health, zero)
        metadata = {"Date": None} if file.suffix == ".svg" else None
        figure.savefig(file, transparent=file.suffix == ".svg", metadata=metadata)


def _answers_by_second(seen: Seen, zero: float, wall_minus_monotonic: float) -> dict[str, Counter[int]]:
    seconds: dict[str, Counter[int]] = {name: Counter() for name in COLOURS}
    for each in seen.answers:
        if each.kind != "health":
            name = "served" if each.is_good else each.code
            seconds[_colour_of(name)][math.floor(each.start + each.seconds - zero)] += 1
    for flood in seen.floods.values():
        for second, counts in flood["by_second"].items():
            at = math.floor(float(second) - wall_minus_monotonic - zero)
            for what, number in counts.items():
                seconds[_colour_of("served" if what == "200" else what.partition(" ")[2])][at] += number
    return seconds


def _stack(axes: Axes, answers: dict[str, Counter[int]], *, bins: int, width: int) -> dict[str, StepPatch]:
    """Stack the results. Each is one path down to 0; the next lower result covers the rest of it."""
    total = [0.0] * bins
    parts = {}
    for order, (name, by_second) in enumerate(answers.items()):
        rates = [sum(by_second[second] for second in range(at * width, (at + 1) * width)) / width for at in range(bins)]
        total = [below + rate for below, rate in zip(total, rates, strict=True)]
        # 0 where the result doesn't occur, and one step for equal neighbours: few points.
        heights = [height if rate else 0 for height, rate in zip(total, rates, strict=True)]
        edges = [0, *(at for at in range(1, bins) if heights[at] != heights[at - 1]), bins]
        values = [heights[at] for at in edges[:-1]]
        parts[name] = axes.stairs(
            values, [edge * width for edge in edges], fill=True, color=COLOURS[name], zorder=1 - order / 10
        )
    return parts


def _draw_health(axes: Axes, health: list[Answer], zero: float, width: int) -> None:
    """Draw the slowest answer of each bin, one path for each state."""
    slowest: dict[bool, dict[int, float]] = {True: {}, False: {}}
    for each in health:
        of_state = slowest[each.code == "connected"]
        at = math.floor((each.start - zero) / width) * width
        of_state[at] = max(of_state.get(at, 0), each.seconds)
    for is_connected, of_state in slowest.items():
        color = COLOURS["served" if is_connected else "database.unavailable"]
        times = [time for at in of_state for time in (at, at, math.nan)]
        seconds = [second for value in of_state.values() for second in (0, value, math.nan)]
        axes.plot(times, seconds, color=color, linewidth=1.5, solid_capstyle="round")


def _mark(seen: Seen, rate: Axes, health: Axes, zero: float) -> None:
    """Mark the faults and floods."""
    at_top: Any = {"xycoords": ("data", "axes fraction"), "fontsize": 7}
    for fault in seen.faults:
        for panel in (rate, health):
            panel.axvspan(fault.began - zero, max(fault.ended, fault.began + 0.5) - zero, color=GREY, alpha=0.3)
        rate.annotate(fault.name, (fault.began - zero, 1.0), **at_top)
    for name, flood in seen.floods.items():
        says = {"overload": f"{seen.plan.times_capacity:g} x full", "frozen": "2 x full"}.get(name, "full")
        rate.annotate(says, (flood["began"] - zero, 0.97), **at_top, va="top")
    rate.set_ylim(top=8 * rate.get_ylim()[1])  # room for the labels
    for each in seen.quiet:
        middle = (each.began + each.ended) / 2 - zero
        rate.annotate(each.name, (middle, 5), fontsize=7, rotation=90, ha="center", va="bottom")


def _colour_of(name: str) -> str:
    return {"server.overloaded": "rejected", "proxy": "rejected"}.get(
        name, name if name in COLOURS else "database.unavailable"
    )
