"""The ratios of throughput and p99 as a picture, legible on light and on dark pages."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tools.bench import contenders, ratios, workloads
from tools.bench.load import CONNECTIONS
from tools.bench.ratios import Results, Spread

INK = "#768390"  # a contrast of 3.9 on white, and of 4.8 on GitHub's dark
COLOURS = {"fastify": "#d9822b", "express": "#3b82c4", "fastapi": "#2f9e6b", "bare": "#8a6fc7"}
FASTER = "#2f9e6b"
TICKS = [0.1, 0.3, 1, 3, 10, 30]


def draw(results: Results, file: Path) -> None:
    """Draw a bar for each median, and a line from the minimum to the maximum of the rounds."""
    style: dict[Any, Any] = dict.fromkeys(
        ["text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"], INK
    )
    with mpl.rc_context(style | {"font.size": 11, "svg.fonttype": "none", "svg.hashsalt": "audifi"}):
        figure = Figure(figsize=(9.2, 6), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        panel(left, results, "per_second", "requests/s", is_more_better=True)
        panel(right, results, "p99_ms", "p99", is_more_better=False)
        title = f"This server divided by each other, at {CONNECTIONS} connections (shaded: this server is faster)"
        figure.suptitle(title, fontsize=12, x=0.01, ha="left")
        figure.savefig(file, transparent=True, metadata={"Date": None})


def panel(axes: Axes, results: Results, measure: str, title: str, *, is_more_better: bool) -> None:
    rows = [
        (f"{workload_title} : {contenders.TITLES[peer]}", COLOURS[peer], Spread.of(values))
        for workload, workload_title in workloads.TITLES.items()
        for peer in COLOURS
        if (values := ratios.ratios(results.samples, peer, workload, measure))
    ]
    for row, (_, colour, spread) in enumerate(rows):
        axes.barh(row, spread.median - 1, left=1, height=0.72, color=colour)
        axes.plot([spread.low, spread.high], [row, row], color=INK, linewidth=2, solid_capstyle="butt")
    axes.axvline(1, color=INK, linewidth=1)
    axes.set_xscale("log")
    low, high = min(0.8, *(spread.low for *_, spread in rows)), max(1.25, *(spread.high for *_, spread in rows))
    ticks = [tick for tick in TICKS if low / 1.3 <= tick <= high * 1.3]
    axes.set_xticks(ticks, [f"{tick:g} x" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(low / 1.3, high * 1.3)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [label for label, *_ in rows])
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", color=INK, alpha=0.25, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=22)
    _name_sides(axes, is_more_better=is_more_better)


def _name_sides(axes: Axes, *, is_more_better: bool) -> None:
    """Write on both sides of 1 whether this server is faster there, and shade the side where it is."""
    low, high = axes.get_xlim()
    axes.axvspan(*((1, high) if is_more_better else (low, 1)), color=FASTER, alpha=0.12, linewidth=0, zorder=0)
    left, right = ("slower", "faster") if is_more_better else ("faster", "slower")
    for text, points, alignment in ((f"← {left}", -6, "right"), (f"{right} →", 6, "left")):
        axes.annotate(
            text,
            (1, 1),
            xycoords=axes.get_xaxis_transform(),
            xytext=(points, 4),
            textcoords="offset points",
            ha=alignment,
            fontsize=10,
        )
