"""The accuracy-cost figure: candidates, front, names, and the path an expansion took. matplotlib, no display needed."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from expand.core.study import Objective
from expand.report.candidates import Candidate, RunFacts, cost_name, front
from expand.report.tables import cost_unit, counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from expand.strategies.ledger import LedgerStep

# Okabe and Ito's palette: told apart by colour-blind readers and in grey print.
BLUE, VERMILION, GREY, INK = "#0072B2", "#D55E00", "#9AA0A6", "#222222"
RUST = "#A34700"  # vermilion, dark enough to be read as text
MOST_LABELS = 16  # candidates that all get their names; of more, only the front does
STYLE = {"font.size": 11, "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none"}


def draw(
    facts: RunFacts,
    candidates: Sequence[Candidate],
    objectives: Sequence[Objective],
    steps: Sequence[LedgerStep],
) -> Figure:
    """The figure, 10 × 6.5 inches: top-1 in percent over log cost. Where nothing is complete yet it says so."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 6.5), dpi=100)
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0.075, 0.19, 0.905, 0.74))
        title = textwrap.shorten(f"{facts.study} ({facts.scale}) on {facts.data}", 58, placeholder=" …")
        axes.set_title(title, loc="left", fontsize=13, color=INK)
        axes.set_ylabel(f"top-1 on {facts.clips:,} validation clips (%)")
        drawn = [candidate for candidate in candidates if candidate.top1 is not None]
        if drawn:
            _draw_points(axes, facts, drawn, front(candidates, objectives), path(candidates, steps), objectives)
        else:
            axes.set(xticks=[], yticks=[], ylabel="")
            axes.spines[:].set_visible(False)
            axes.text(0.5, 0.5, "no candidate is complete yet", ha="center", va="center", transform=axes.transAxes)
        ended = "" if facts.complete else "search not ended: "
        note = f"{ended}{counted(candidates)}; only complete ones are drawn. {_error_bars(facts)}; {facts.training}; "
        note += f"accuracy: {facts.scoring}."
        figure.text(0.075, 0.025, textwrap.fill(note, 134), fontsize=9.5, color="#555555", va="bottom")
    return figure


def path(candidates: Sequence[Candidate], steps: Sequence[LedgerStep]) -> list[Candidate]:
    """The expansion's way: the candidate chosen in each step, the start first."""
    by_number = {number: candidate for candidate in candidates for number in candidate.numbers}
    by_architecture = {candidate.architecture: candidate for candidate in candidates}
    way: list[Candidate | None] = []
    for step in steps:
        if step.base is not None and not way:
            way.append(by_architecture.get(step.base))
        if step.chosen is not None:
            way += [by_number.get(number) for number in step.entries[step.chosen].trial_numbers[:1]]
    return list(dict.fromkeys(candidate for candidate in way if candidate is not None and candidate.top1 is not None))


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers for a log axis, at least five: powers of ten, then more a decade, then evenly spaced ones."""
    for steps in ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)):
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [float(f"{step * 10.0**power:.6g}") for power in powers for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 5:
            return ticks[:: math.ceil(len(ticks) / 9)]
    power = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = max(step * power for step in (1, 2, 5) if step * power <= (high - low) / 4)
    return [float(f"{n * step:.6g}") for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _draw_points(
    axes: Axes,
    facts: RunFacts,
    drawn: Sequence[Candidate],
    best: Sequence[Candidate],
    way: Sequence[Candidate],
    objectives: Sequence[Objective],
) -> None:
    name = cost_name(objectives)
    size, unit = cost_unit((candidate.amount(name) for candidate in drawn), name)

    def spot(candidate: Candidate) -> tuple[float, float]:
        return candidate.amount(name) / size, 100 * (candidate.top1 or 0)

    bars = [100 * (candidate.noise or 0) for candidate in drawn]
    xs, ys = zip(*map(spot, drawn), strict=True)
    axes.errorbar(xs, ys, yerr=bars, fmt="none", ecolor=GREY, elinewidth=1, capsize=2, alpha=0.8, zorder=1)
    axes.plot(xs, ys, "o", color=GREY, markersize=6, markeredgecolor="white", zorder=2, label="candidate")
    margin = min(max((max(xs) / min(xs)) ** 0.25, 1.01), 1.25)  # networks of about one cost are still told apart
    low, high = min(xs) / margin, max(xs) * margin
    if best:
        front_x, front_y = zip(*map(spot, best), strict=True)
        axes.plot([*front_x, high], [*front_y, front_y[-1]], drawstyle="steps-post", color=BLUE, linewidth=2, zorder=3)
        axes.plot(front_x, front_y, "o", color=BLUE, markersize=9, markeredgecolor="white", zorder=5)
        axes.plot([], [], "-o", color=BLUE, linewidth=2, markersize=9, markeredgecolor="white", label="Pareto front")
    if way:
        way_x, way_y = zip(*map(spot, way), strict=True)
        axes.plot(
            way_x, way_y, "--D", color=VERMILION, linewidth=1.4, markersize=5, markeredgecolor="white", zorder=6,
            label="expansion path",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    bottom = max(min(y - bar for y, bar in zip(ys, bars, strict=True)) - 4, -2)
    top = min(max(y + bar for y, bar in zip(ys, bars, strict=True)) + 8, 106)
    axes.set_ylim(bottom, max(top, bottom + 10))
    ticks = log_ticks(low, high)
    axes.set_xticks(ticks, [f"{tick:,.6g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks([tick for tick in axes.get_yticks() if max(bottom, 0) <= tick <= min(top, 100)])
    axes.grid(color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    what = {"params_m": "parameters", "latency_ms": "measured, one clip"}.get(name, facts.convention)
    axes.set_xlabel(textwrap.fill(f"{unit} ({what}), log scale", 96), fontsize=9)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, fontsize=10, columnspacing=1.2)
    labelled = way or [candidate for candidate in (drawn if len(drawn) <= MOST_LABELS else best) if candidate.name]
    labels = [f"contract {one.label}" if one.kind == "contract" else one.label for one in labelled]
    ink = RUST if way else INK
    place_labels(axes, [spot(one) for one in labelled], labels, [spot(one) for one in drawn], color=ink)


def place_labels(
    axes: Axes,
    spots: Sequence[tuple[float, float]],
    labels: Sequence[str],
    points: Sequence[tuple[float, float]],
    *,
    color: str = RUST,
) -> list[Any]:
    """Writes each label near its spot, at the first of the offsets around it that covers least: labels already written
    count most, then points, then lines and error bars, then being nearer to another point, where a line leads to the own
    one. Positions in data units, sizes in pixels."""
    canvas: Any = axes.figure.canvas
    renderer = canvas.get_renderer()
    taken: list[Any] = []
    dots = [tuple(axes.transData.transform(point)) for point in points]
    lines = [along for line in axes.get_lines() for along in _along(line)]
    lines += [along for bars in axes.collections for bar in _segments(bars) for along in _between(bar)]
    texts = []
    for spot, label in zip(spots, labels, strict=True):
        own = tuple(axes.transData.transform(spot))
        places = []
        for order, offset in enumerate(_offsets()):
            text = _annotate(axes, spot, label, offset, color)
            box = text.get_window_extent(renderer).padded(3)
            text.remove()
            outside = not (axes.bbox.x0 < box.x0 and box.x1 < axes.bbox.x1 and box.y0 > axes.bbox.y0)
            hidden = 3 * sum(box.contains(*dot) for dot in dots) + sum(box.contains(*dot) for dot in lines)
            unclear = any(_gap(box, dot) < _gap(box, own) for dot in dots)
            badness = 1000 * outside + 100 * sum(map(box.overlaps, taken)) + hidden + 2 * unclear + order / 4
            places.append((badness, order, offset, box, unclear))
        _, _, offset, box, unclear = min(places, key=lambda place: place[:2])
        texts.append(_annotate(axes, spot, label, offset, color, leader=unclear or math.hypot(*offset) > 15))
        taken.append(box)
    return texts


def _gap(box: Any, dot: tuple[float, float]) -> float:
    """From a dot to the nearest edge of a box; 0 inside."""
    return math.hypot(max(box.x0 - dot[0], 0, dot[0] - box.x1), max(box.y0 - dot[1], 0, dot[1] - box.y1))


def _offsets() -> list[tuple[float, float]]:
    """Eight directions at growing distances, above left first, where a rising front leaves room. In points."""
    around = ((-0.7, 0.7), (0, 1), (0.7, -0.7), (0, -1), (-1, 0.15), (1, -0.15), (0.7, 0.7), (-0.7, -0.7))
    return [(reach * x, reach * y) for reach in (11, 20, 32, 46, 62) for x, y in around]


def _annotate(
    axes: Axes, spot: tuple[float, float], label: str, offset: tuple[float, float], color: str, leader: bool = False
) -> Any:
    from matplotlib.patheffects import withStroke

    dx, dy = offset
    arrow = {"arrowstyle": "-", "color": color, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 3}
    return axes.annotate(
        label,
        spot,
        offset,
        textcoords="offset points",
        ha="center" if abs(dx) < 1 else "right" if dx < 0 else "left",
        va="center" if abs(dx) > 3 * abs(dy) else "bottom" if dy > 0 else "top",
        fontsize=10,
        color=color,
        zorder=7,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
        arrowprops=arrow if leader else None,
    )


def _along(line: Any) -> list[tuple[float, float]]:
    """Pixels along a drawn line, about every 6."""
    vertices = line.get_transform().transform_path(line.get_path()).vertices
    if len(vertices) < 2 or line.get_linestyle() == "None":
        return []
    if line.get_drawstyle() == "steps-post":
        corners = [(b[0], a[1]) for a, b in pairwise(vertices)]
        vertices = [v for pair in zip(vertices, corners, strict=False) for v in pair] + [vertices[-1]]
    return _between(vertices)


def _segments(bars: Any) -> list[Any]:
    """The error bars' ends in pixels."""
    return [bars.get_transform().transform_path(path).vertices for path in bars.get_paths()]


def _between(vertices: Sequence[Any]) -> list[tuple[float, float]]:
    """Pixels about every 6 along these corners."""
    spots = []
    for (x0, y0), (x1, y1) in pairwise(vertices):
        count = max(int(math.hypot(x1 - x0, y1 - y0) / 6), 1)
        spots += [(x0 + (x1 - x0) * n / count, y0 + (y1 - y0) * n / count) for n in range(count + 1)]
    return spots


def _error_bars(facts: RunFacts) -> str:
    return facts.noise.replace("±", "Error bars:", 1).replace(": is ", ": ± ", 1)
