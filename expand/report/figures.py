"""Figures for a paper, beside the front: the expansion, hypervolume against training, learning curves, fronts of several runs.

They are drawn from what the page shows (`page_data`). Colour never tells alone: marks, widths and dashes say the same in grey.
Text in SVG stays text. matplotlib, no display needed.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from expand.report.candidates import CostName
from expand.report.front_figure import BLUE, GREY, INK, RUST, STYLE, VERMILION, log_ticks, place_labels
from expand.report.tables import cost_unit, show_cost

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Plain = dict[str, Any]  # a part of page_data
SIZE = (7.0, 4.3)  # inches: the width of a page's text
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (7, 2, 1.5, 2)))
INKS = (BLUE, VERMILION, "#009E73", "#B0568A", "#7A6A00")
COST_NOUNS: dict[str, CostName] = {"macs": "gmacs", "params": "params_m", "latency_ms": "latency_ms"}


def figures_of(data: Plain) -> dict[str, Figure]:
    """The figures that these runs have something for, by file name without ending. The front of one run alone is
    `figure.draw`'s."""
    runs = data["runs"]
    drawn = [run for run in runs if run["front"]]
    figures: dict[str, Callable[[], Figure]] = {}
    if len(runs) > 1 and drawn and len({run["main_cost"] for run in drawn}) == 1:
        figures["fronts"] = lambda: draw_fronts(drawn)
    if len(runs) == 1 and any(_grown(step) for step in runs[0]["steps"]):
        figures["expansion"] = lambda: draw_expansion(runs[0])
    if drawn and len({(run["volume"]["cost"], run["volume"]["low"]) for run in drawn}) == 1:
        figures["hypervolume"] = lambda: draw_volume(drawn)
    if len(runs) == 1 and any(trial["curve"]["epoch"] for trial in runs[0]["trials"]):
        figures["curves"] = lambda: draw_curves(runs[0])
    with _style():
        return {name: make() for name, make in figures.items()}


def draw_fronts(runs: Sequence[Plain]) -> Figure:
    """The fronts of several runs over their one main cost, with what they leave behind."""
    key = runs[0]["main_cost"]
    size, unit = cost_unit((c["costs"][key] for run in runs for c in _complete(run, key)), COST_NOUNS[key])
    figure, axes = _axes("Fronts", f"{unit} ({_what(runs[0], key)}), log scale")
    for place, run in enumerate(runs):
        color, dash = INKS[place % len(INKS)], DASHES[place % len(DASHES)]
        others = [(c["costs"][key] / size, 100 * c["top1"]) for c in _complete(run, key)]
        axes.plot(*_columns(others), ".", color=color, alpha=0.35, markersize=5)
        best = [run["candidates"][index] for index in run["fronts"][key]]
        spots = [(c["costs"][key] / size, 100 * c["top1"]) for c in best]
        axes.plot(
            *_columns(spots),
            linestyle=dash,
            marker="osD^v"[place % 5],
            color=color,
            drawstyle="steps-post",
            label=run["name"],
        )
    _log_axis(axes)
    axes.legend(frameon=False, fontsize=8)
    return figure


def draw_expansion(run: Plain) -> Figure:
    """Each step's candidates joined with the network they grew from, the chosen one with a thick line (X3D, figure 3)."""
    steps = [step for step in run["steps"] if _grown(step)]
    places = {index for step in steps for index in (step["base"], *(e["candidate"] for e in step["entries"]))}
    shown = [run["candidates"][index] for index in places if _scored(run, index)]
    size, unit = cost_unit(c["costs"]["macs"] for c in shown)
    figure, axes = _axes("Expansion", f"{unit} ({run['texts']['convention']}), log scale", run)

    def spot(index: int) -> tuple[float, float]:
        found = run["candidates"][index]
        return found["costs"]["macs"] / size, 100 * found["top1"]

    bars = [100 * _noise(c) for c in shown]
    spots = [(c["costs"]["macs"] / size, 100 * c["top1"]) for c in shown]
    axes.errorbar(
        *_columns(spots), yerr=bars, fmt="o", color=GREY, elinewidth=0.7, markersize=4, label="candidate", zorder=2
    )
    names = {}
    for step in steps:
        for number, entry in enumerate(step["entries"]):
            chosen, dashed = number == step["chosen"], step["kind"] == "contract"
            if chosen and _scored(run, entry["candidate"]):
                names[entry["candidate"]] = f"{'contract ' if dashed else ''}{' = '.join(entry['axes'])}"
            if _scored(run, step["base"]) and _scored(run, entry["candidate"]):
                ends = _columns([spot(step["base"]), spot(entry["candidate"])])
                look: Plain = (
                    {"color": RUST, "linewidth": 1.8, "zorder": 3} if chosen else {"color": GREY, "linewidth": 0.7}
                )
                axes.plot(*ends, linestyle=(0, (4, 2)) if dashed else "-", **look)
    axes.plot(
        *_columns([spot(i) for i in names]),
        "D",
        color=RUST,
        markersize=5,
        markeredgecolor="white",
        label="chosen",
        zorder=4,
    )
    _log_axis(axes)
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    place_labels(axes, [spot(i) for i in names], list(names.values()), spots)
    return figure


def draw_volume(runs: Sequence[Plain]) -> Figure:
    """The share of the box below the front against hours of training."""
    title = "Hypervolume" if len(runs) == 1 else "Hypervolume of several runs"
    figure, axes = _axes(title, "", runs[0] if len(runs) == 1 else None)
    for place, run in enumerate(runs):
        moments = run["volume"]["moments"]
        hours, shares = [0.0, *(m[1] / 3600 for m in moments)], [0.0, *(100 * m[3] for m in moments)]
        color, dash = INKS[place % len(INKS)], DASHES[place % len(DASHES)]
        axes.plot(hours, shares, drawstyle="steps-post", color=color, linestyle=dash, linewidth=1.6, label=run["name"])
    low, high = runs[0]["volume"]["low"], runs[0]["volume"]["high"]
    size, unit = cost_unit((low, high), COST_NOUNS[runs[0]["volume"]["cost"]])
    axes.set_ylabel("best top-1 (%), mean over the costs")
    costs = f"costs: {show_cost(low, size)} to {show_cost(high, size)} {unit}, averaged on a log axis"
    axes.set_xlabel(f"training spent, all workers together (hours)\n{costs}", fontsize=9)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    if len(runs) > 1:
        axes.legend(loc="lower right", frameon=False, fontsize=8)
    return figure


def draw_curves(run: Plain) -> Figure:
    """Top-1 on validation after each epoch, the front's thick."""
    from matplotlib.collections import LineCollection
    from matplotlib.ticker import MaxNLocator

    figure, axes = _axes("Learning curves", "epoch", run)
    front = set(run["front"])
    for best, label in ((False, "not on the front"), (True, "on the front")):
        trials = [t for t in run["trials"] if (t["candidate"] in front) is best and t["curve"]["epoch"]]
        curves = [list(zip(t["curve"]["epoch"], map(_points, t["curve"]["top1"]), strict=True)) for t in trials]
        style: Plain = {"color": BLUE, "linewidth": 1.6} if best else {"color": GREY, "linewidth": 0.7, "alpha": 0.7}
        if curves:  # one collection: a thousand lines of their own would take seconds
            axes.add_collection(LineCollection(curves, label=label, zorder=3 if best else 2, **style))
            ends = _columns(curve[-1] for curve in curves)
            axes.plot(*ends, "o", markersize=3 if best else 1.5, color=style["color"], zorder=3 if best else 2)
    axes.autoscale_view()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    return figure


def _points(share: float | None) -> float:
    return math.nan if share is None else 100 * share


def _axes(title: str, below: str, run: Plain | None = None) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.1, 0.2, 0.88, 0.71))
    name = f"{title}: {run['study']} ({run['scale']}) on {run['data_name']}" if run else title
    axes.set_title(textwrap.shorten(name, 74, placeholder=" …"), loc="left", fontsize=11, color=INK)
    axes.set_ylabel(f"top-1 on {run['val_clips']:,} validation clips (%)" if run else "top-1 on validation (%)")
    axes.set_xlabel(textwrap.fill(below, 96), fontsize=9)
    axes.grid(color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)
    if run:
        note = f"{run['texts']['training']}; accuracy: {run['texts']['scoring']}; {run['texts']['noise']}."
        figure.text(0.1, 0.015, textwrap.fill(note, 118), fontsize=7.5, color="#555555", va="bottom")
    return figure, axes


def _log_axis(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.minorticks_off()
    low, high = axes.get_xlim()
    ticks = log_ticks(low, high)
    axes.set_xticks(ticks, [f"{tick:,.6g}" for tick in ticks])


def _style() -> AbstractContextManager[None]:
    import matplotlib

    return matplotlib.rc_context(STYLE | {"font.size": 9})


def _columns(spots: Iterable[tuple[float, float]]) -> tuple[list[float], list[float]]:
    pairs = list(spots)
    return [x for x, _ in pairs], [y for _, y in pairs]


def _complete(run: Plain, key: str) -> list[Plain]:
    return [c for c in run["candidates"] if c["state"] == "complete" and c["costs"][key] is not None]


def _what(run: Plain, key: str) -> str:
    return next(cost["what"] for cost in run["costs"] if cost["key"] == key)


def _scored(run: Plain, index: int | None) -> bool:
    return index is not None and run["candidates"][index]["top1"] is not None


def _grown(step: Plain) -> bool:
    return step["kind"] != "start" and any(entry["top1"] is not None for entry in step["entries"])


def _noise(candidate: Plain) -> float:
    return candidate["spread"] if candidate["spread"] is not None else candidate["standard_error"] or 0.0
