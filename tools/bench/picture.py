"""The ratios at 64 connections, as a picture that can be read on light and on dark pages."""

from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tools.bench import ratios
from tools.bench.measure import CONNECTIONS
from tools.bench.ratios import Sample, Spread
from tools.bench.report import KINDS, TITLES

INK = "#768390"  # a contrast of 3.9 on white, and of 4.8 on GitHub's dark
COLOURS = {"fastify": "#d9822b", "express": "#3b82c4", "bare": "#8a6fc7"}
TICKS = [0.01, 0.03, 0.1, 0.3, 0.5, 1, 2, 3, 5, 10, 30, 100]
LABEL_WIDTH = 0.15
"""Of a panel's width."""


def draw(samples: Sequence[Sample], file: Path) -> None:
    """Write it. Each bar is a median, each line from the least to the greatest ratio of all rounds."""
    style: dict[Any, Any] = dict.fromkeys(
        ["text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"], INK
    )
    with mpl.rc_context(style | {"font.size": 11, "svg.fonttype": "none", "svg.hashsalt": "audifi"}):
        figure = Figure(figsize=(9.2, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        panel(left, samples, "per_second", "requests/s (more is better)")
        panel(right, samples, "p99_ms", "p99 (less is better)")
        figure.suptitle(f"This server by each other, at {CONNECTIONS} connections", fontsize=12, x=0.01, ha="left")
        figure.savefig(file, transparent=True, metadata={"Date": None})


def panel(axes: Axes, samples: Sequence[Sample], measure: str, title: str) -> None:
    rows = [
        (kind, peer, Spread.of(found))
        for kind in KINDS
        for peer in COLOURS
        if (found := of(samples, kind, peer, measure))
    ]
    for row, (_, peer, spread) in enumerate(rows):
        axes.barh(row, spread.median - 1, left=1, height=0.72, color=COLOURS[peer])
        axes.plot([spread.low, spread.high], [row, row], color=INK, linewidth=2, solid_capstyle="butt")
    axes.axvline(1, color=INK, linewidth=1)
    axes.set_xscale("log")
    least, most = min(spread.low for *_, spread in rows) / 1.3, max(spread.high for *_, spread in rows) * 1.3
    ticks = apart([tick for tick in TICKS if least <= tick <= most or tick == 1], by=(most / least) ** LABEL_WIDTH)
    axes.set_xticks(ticks, [f"{tick:g} x" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(min(least, 0.8), max(most, 1.25))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [f"{KINDS[kind]} : {TITLES[peer]}" for kind, peer, _ in rows])
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", color=INK, alpha=0.25, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")


def apart(ticks: Sequence[float], by: float) -> list[float]:
    """1, and of the others those that are so many times the one before."""
    kept = [1.0]
    for tick in sorted(ticks, key=lambda tick: abs(log(tick))):
        if all(max(tick / other, other / tick) >= by for other in kept):
            kept.append(tick)
    return sorted(kept)


def of(samples: Sequence[Sample], kind: str, peer: str, measure: str) -> list[float]:
    ours, theirs = (
        ratios.select(samples, contender=name, workload=kind, connections=CONNECTIONS) for name in ("audifi", peer)
    )
    return ratios.per_round(ours, theirs, measure)
