"""Figures of the front of one run or several: top-1 over cost, and hypervolume over training, drawn from `Front`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from expand.report.candidates import Candidate, CostName
from expand.report.drawing import (
    BLUE,
    COLOURS,
    DASHES,
    GREEN,
    GREY,
    INK,
    MARKS,
    ORANGE,
    label_ends,
    log_axis,
    longest,
    new_figure,
    place_labels,
)
from expand.report.front import Front
from expand.report.tables import cost_unit, counted, show_cost

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NAMED = 16  # up to so many named candidates are all labelled; of more, only those on the front
COST_TITLES: dict[CostName, str] = {"gmacs": "multiply-adds", "params_m": "parameters", "latency_ms": "latency"}


def draw_front(front: Front, width: float) -> Figure:
    """One run: its candidates with error bars, the front, the path of the expansion. Says so if nothing is complete yet."""
    facts = front.facts
    ended = "" if facts.complete else "search not ended; "
    what = {"params_m": "all parameters", "latency_ms": "measured, one clip"}.get(front.cost, facts.convention)
    note = f"{ended}{counted(front.candidates)}. Cost: {what}. Accuracy: {facts.accuracy}; {facts.training}; {facts.noise}."
    if front.inherited:
        note += " Triangles began with another trial's weights, whose epochs they do not show: not comparable with the others."
    title = f"{facts.study} ({facts.scale}) on {facts.data}"
    figure, (axes,) = new_figure(width, title=title, note=note)
    if not front.complete:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.text(0.5, 0.5, "no candidate is complete yet", ha="center", va="center", transform=axes.transAxes)
        return figure
    spots = _accuracy_axes(axes, [front], front.drawn)
    on_front = set(front.best)
    for chosen, colour, size, label in ((False, GREY, 3.5, "candidate"), (True, BLUE, 5, "Pareto front")):
        own = [c for c in (front.best if chosen else front.complete) if (c in on_front) is chosen and c in spots]
        if not own:
            continue
        xs, ys = zip(*(spots[c] for c in own), strict=True)
        bars = [100 * (c.noise or 0) for c in own]
        axes.errorbar(xs, ys, yerr=bars, fmt="none", ecolor=colour, elinewidth=0.6, alpha=0.5, zorder=2 + chosen)
        line: dict[str, Any] = {"linestyle": "-" if chosen else "None", "drawstyle": "steps-post", "linewidth": 1.4}
        axes.plot(
            xs, ys, marker="o", color=colour, markersize=size, markeredgecolor="white", markeredgewidth=0.5,
            zorder=5 - chosen, label=label, **line,  # the small dots of candidates over the front's line, which would hide them
        )  # fmt: skip
        if chosen:
            axes.plot([xs[-1], axes.get_xlim()[1]], [ys[-1]] * 2, color=colour, linewidth=1.4, zorder=4)
    path = [c for c in front.path if c in spots]
    if path:  # open markers around those of the candidates, so that neither hides the other
        look: dict[str, Any] = {"markerfacecolor": "None", "markersize": 8, "markeredgewidth": 0.9}
        xs, ys = zip(*(spots[c] for c in path), strict=True)
        axes.plot(
            xs, ys, "D", color=ORANGE, linestyle=(0, (4, 2)), linewidth=0.8, zorder=6, label="expansion path", **look
        )
    _draw_inherited(axes, front, spots)
    tight: dict[str, Any] = {"columnspacing": 0.9, "handlelength": 1.3, "handletextpad": 0.4} if front.inherited else {}
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.01, 0.99), ncols=4, frameon=False, fontsize=7, borderpad=0.2, **tight
    )
    others = [c for c in front.complete if c.name] if len(front.complete) <= MOST_NAMED and not path else []
    named = list(dict.fromkeys([*path, *front.best[-1:], *front.best[:-1], *front.inherited_best, *others]))
    place_labels(
        axes, [spots[c] for c in named], [c.title for c in named], [ORANGE if c in path else INK for c in named]
    )
    return figure


def _draw_inherited(axes: Axes, front: Front, spots: dict[Candidate, tuple[float, float]]) -> None:
    """Networks from inherited weights: open triangles, and a dashed front of their own."""
    own = [c for c in front.drawn if c.inherit is not None]
    if not own:
        return
    look: dict[str, Any] = {"color": GREEN, "markerfacecolor": "white", "markersize": 5, "markeredgewidth": 1}
    bars = [100 * (c.noise or 0) for c in own]
    xs, ys = zip(*(spots[c] for c in own), strict=True)
    axes.errorbar(xs, ys, yerr=bars, fmt="none", ecolor=GREEN, elinewidth=0.6, alpha=0.5, zorder=2)
    axes.plot(xs, ys, "^", linestyle="None", zorder=5, label="inherited", **look)
    steps = [spots[c] for c in front.inherited_best if c in spots]
    if steps:
        xs, ys = zip(*steps, strict=True)
        line: dict[str, Any] = {"color": GREEN, "linestyle": (0, (4, 2)), "linewidth": 1.1, "zorder": 3}
        axes.plot([*xs, axes.get_xlim()[1]], [*ys, ys[-1]], drawstyle="steps-post", **line)


def draw_fronts(fronts: Sequence[Front], width: float) -> Figure:
    """The fronts of several runs over the same cost, each named at its right end."""
    figure, (axes,) = new_figure(width, title="Fronts", note="", right=longest([front.name for front in fronts]))
    draw_steps(axes, fronts)
    return figure


def draw_steps(axes: Axes, fronts: Sequence[Front]) -> None:
    """Fronts as step lines, other candidates as pale dots; each run is named at the right end of its line."""
    spots = _accuracy_axes(axes, fronts, [c for front in fronts for c in front.complete])
    for place, front in enumerate(fronts):
        colour, mark = COLOURS[place % len(COLOURS)], MARKS[place % len(MARKS)]
        left = [spots[c] for c in front.complete if c not in front.best]
        axes.plot(
            [x for x, _ in left], [y for _, y in left], mark, color=colour, alpha=0.3, markersize=2.5, linestyle="None"
        )
        if not front.best:
            continue
        xs, ys = map(list, zip(*(spots[c] for c in front.best), strict=True))
        bars = [100 * (c.noise or 0) for c in front.best]
        axes.errorbar(xs, ys, yerr=bars, fmt="none", ecolor=colour, elinewidth=0.6, alpha=0.5, zorder=2)
        line: dict[str, Any] = {"linestyle": DASHES[place % len(DASHES)], "drawstyle": "steps-post", "linewidth": 1.3}
        axes.plot([*xs, axes.get_xlim()[1]], [*ys, ys[-1]], color=colour, zorder=3, **line)
        size = 4 + 3 * (len(fronts) - place) / len(
            fronts
        )  # later markers are smaller, so that those below stay visible
        axes.plot(
            xs, ys, mark, color=colour, markersize=size, markeredgecolor="white", markeredgewidth=0.5, zorder=4 + place
        )
    drawn = [(place, front) for place, front in enumerate(fronts) if front.best]
    ends = [(axes.get_xlim()[1], 100 * (front.best[-1].top1 or 0)) for _, front in drawn]
    label_ends(axes, ends, [front.name for _, front in drawn], [COLOURS[place % len(COLOURS)] for place, _ in drawn])


def draw_growth(axes: Axes, fronts: Sequence[Front], *, over: str) -> None:
    """Hypervolume over training spent, in "hours" or "macs"; several runs are named at the ends of their lines."""
    amounts = [[m.seconds if over == "hours" else m.macs for m in front.growth] for front in fronts]
    size, unit = _training_unit(max((own[-1] for own in amounts if own), default=0.0), over)
    ends = []
    for place, (front, own) in enumerate(zip(fronts, amounts, strict=True)):
        xs, ys = [0.0, *(amount / size for amount in own)], [0.0, *(100 * m.volume for m in front.growth)]
        colour, dash = COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)]
        axes.plot(xs, ys, drawstyle="steps-post", color=colour, linestyle=dash, linewidth=1.3, zorder=3 + place)
        axes.plot(xs[-1:], ys[-1:], MARKS[place % len(MARKS)], color=colour, markersize=4, clip_on=False, zorder=9)
        ends.append((xs[-1], ys[-1]))
    box = fronts[0].box
    assert box is not None
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    floor = f" above {100 * box.floor:g}" if box.floor else ""
    axes.set_ylabel(f"hypervolume: mean best top-1{floor} (%)")
    axes.set_xlabel(f"training spent ({unit})")
    if len(fronts) > 1:
        colours = [COLOURS[place % len(COLOURS)] for place in range(len(fronts))]
        label_ends(axes, ends, [front.name for front in fronts], colours)


def box_text(front: Front) -> str:
    """Describes the bounds of the hypervolume."""
    assert front.box is not None
    size, unit = cost_unit((front.box.low, front.box.high), front.cost)
    low, high = show_cost(front.box.low, size), show_cost(front.box.high, size)
    return f"Hypervolume: the best top-1 at each cost, averaged over costs from {low} to {high} {unit} on a log axis."


def _training_unit(most: float, over: str) -> tuple[float, str]:
    if over == "macs":
        return cost_unit([most or 1e9])
    return (3600, "hours") if most > 7200 else (60, "minutes") if most > 120 else (1, "seconds")


def _accuracy_axes(
    axes: Axes, fronts: Sequence[Front], shown: Sequence[Candidate]
) -> dict[Candidate, tuple[float, float]]:
    """Sets the limits of both axes so that all of these and their error bars fit; returns each candidate's position."""
    name = fronts[0].cost
    size, unit = cost_unit((c.amount(name) for c in shown), name)
    spots = {c: (c.amount(name) / size, 100 * (c.top1 or 0)) for c in shown}
    xs = [x for x, _ in spots.values()]
    margin = min(max((max(xs) / min(xs)) ** 0.12, 1.03), 1.5)  # networks of similar cost stay apart
    narrow = len(fronts) == 1 and axes.bbox.width < 400  # then labels need space at the right
    log_axis(axes, min(xs) / margin, max(xs) * margin ** (3 if narrow else 1))
    noise = [(y, 100 * (c.noise or 0)) for c, (_, y) in spots.items()]
    low, high = min(y - bar for y, bar in noise), max(y + bar for y, bar in noise)
    space = max(0.08 * (high - low), 2)
    axes.set_ylim(max(low - space, -2), min(high + 1.5 * space, 106))
    axes.set_yticks([tick for tick in axes.get_yticks() if max(low - space, 0) <= tick <= min(high + 1.5 * space, 100)])
    axes.set_xlabel(f"{COST_TITLES[name]} ({unit}, log scale)")
    axes.set_ylabel(f"top-1 on {fronts[0].facts.clips:,} validation clips (%)")
    return spots
