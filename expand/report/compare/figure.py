"""The fronts of several runs on one plot, and what each had found after so much training. matplotlib, no display needed."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expand.report.compare.fronts import Fronts
from expand.report.compare.tables import accuracy_noise
from expand.report.front_figure import INK, STYLE, log_ticks
from expand.report.tables import cost_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, ordered so that neighbours differ in lightness; mark and dashes tell runs apart in grey print.
COLOURS = ("#0072B2", "#E69F00", "#222222", "#CC79A7", "#009E73", "#D55E00", "#56B4E9", "#7A7A7A")
MARKS = ("o", "s", "D", "^", "v", "P", "X", "h")
DASHES = ("-", "--", ":", "-.", (0, (6, 1, 1, 1)), (0, (1, 3)), (0, (8, 3)), (0, (3, 1, 1, 1, 1, 1)))


def draw(found: Fronts) -> Figure:
    """The figure, 12 × 6 inches: left top-1 in percent over log cost, right hypervolume over training."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12, 6), dpi=100)
        FigureCanvasAgg(figure)
        left = figure.add_axes((0.06, 0.19, 0.56, 0.74))
        right = figure.add_axes((0.69, 0.19, 0.295, 0.74))
        _draw_fronts(left, found)
        _draw_growth(right, found)
        figure.text(0.06, 0.025, textwrap.fill(_note(found), 165), fontsize=9.5, color="#555555", va="bottom")
    return figure


def save_svg(figure: Figure, path: Path) -> None:
    """With text as text, which is a setting of saving and not of the figure."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        figure.savefig(path, format="svg")


def _draw_fronts(axes: Axes, found: Fronts) -> None:
    size, unit = cost_unit([found.box.low, found.box.high], found.cost)
    high, bottom, top = found.box.high / size, 100.0, 0.0
    for place, front in enumerate(found.fronts):
        xs = [candidate.amount(found.cost) / size for candidate in front]
        ys = [100 * (candidate.top1 or 0) for candidate in front]
        bars = [100 * (candidate.noise or 0) for candidate in front]
        look: dict[str, Any] = {"color": COLOURS[place], "zorder": 3 + place}
        axes.errorbar(
            xs, ys, yerr=bars, fmt="none", ecolor=COLOURS[place], elinewidth=1, capsize=3, alpha=0.7, zorder=2
        )
        axes.plot([*xs, high], [*ys, ys[-1]], linestyle=DASHES[place], drawstyle="steps-post", linewidth=1.8, **look)
        axes.plot(xs, ys, MARKS[place], markersize=_size(found, place), markeredgecolor="white", **look)
        axes.plot(
            [], [], linestyle=DASHES[place], marker=MARKS[place], markersize=8, markeredgecolor="white", linewidth=1.8,
            color=COLOURS[place], label=found.runs[place].name,
        )  # fmt: skip
        bottom = min(bottom, *(y - bar for y, bar in zip(ys, bars, strict=True)))
        top = max(top, *(y + bar for y, bar in zip(ys, bars, strict=True)))
    low = min(front[0].amount(found.cost) for front in found.fronts) / size
    axes.set_xscale("log")
    axes.set_xlim(low / (high / low) ** 0.03, high)
    axes.set_ylim(max(bottom - 4, -2), min(top + 4, 102))
    ticks = log_ticks(low, high)
    axes.set_xticks(ticks, [f"{tick:,.6g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(f"{unit}, log scale, up to the reference")
    axes.set_ylabel(f"top-1 on {found.runs[0].about.clips:,} validation clips (%)")
    axes.set_title("Fronts", loc="left", fontsize=13, color=INK)
    _finish(axes)
    axes.legend(loc="lower right", frameon=False, fontsize=10, handlelength=3.6)


def _draw_growth(axes: Axes, found: Fronts) -> None:
    size, _ = cost_unit([moments[-1].macs for moments in found.growth])
    prefix = {1e12: "T", 1e9: "G", 1e6: "M", 1e3: "k"}.get(size, "")
    for place, moments in enumerate(found.growth):
        xs, ys = [moment.macs / size for moment in moments], [100 * moment.share for moment in moments]
        axes.plot(
            xs, ys, linestyle=DASHES[place], drawstyle="steps-post", linewidth=1.8, color=COLOURS[place], zorder=3 + place
        )  # fmt: skip
        axes.plot(
            xs[-1:], ys[-1:], MARKS[place], color=COLOURS[place], markersize=_size(found, place), markeredgecolor="white",
            zorder=9 + place,
        )  # fmt: skip
    axes.axvline(found.equal_training / size, color="#9AA0A6", linewidth=1, zorder=1)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"training spent ({prefix}MACs)")
    axes.set_ylabel("hypervolume (points)")
    axes.set_title("What training bought", loc="left", fontsize=13, color=INK)
    _finish(axes)


def _size(found: Fronts, place: int) -> float:
    """Later marks are smaller, so that one on top of another leaves it to be seen."""
    return 7.0 + 2.5 * (len(found.runs) - 1 - place) / max(len(found.runs) / 3, 1)


def _finish(axes: Axes) -> None:
    axes.grid(color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)


def _note(found: Fronts) -> str:
    floor = f" above {100 * found.box.floor:g} %" if found.box.floor else ""
    return (
        f"Error bars: ± {accuracy_noise(found.runs)}. "
        f"Hypervolume: best top-1{floor} to be had, averaged over log cost up to the reference. "
        f"Accuracy: {found.runs[0].about.accuracy}. The grey line is the training that every run has spent."
    )
