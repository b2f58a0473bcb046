"""Figures for a paper: expansion, hypervolume against training, learning curves. Drawn from `Front`, steps and trials.

Colour is never the only difference: markers, line widths and dashes differ too, for print in grey.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

from expand.core.trial import Trial
from expand.report.drawing import (
    COLOURS,
    COLUMN,
    DASHES,
    GREY,
    INK,
    MARKS,
    label_ends,
    log_axis,
    longest,
    new_figure,
    place_labels,
)
from expand.report.front import Front
from expand.report.front_figure import COST_TITLES, box_text, draw_front, draw_fronts, draw_growth
from expand.report.tables import cost_unit
from expand.strategies.ledger import LedgerEntry, LedgerStep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Draw = Callable[[float], "Figure"]
MOST_CURVES = (
    12  # up to so many candidates, each has a learning curve in a colour of its own; of more, only the front's
)


def run_figures(front: Front, steps: Sequence[LedgerStep], trials: Sequence[Trial]) -> dict[str, Draw]:
    """The figures of a run, by file name without extension. Each function draws its figure for a width in inches."""
    found: dict[str, Draw] = {"front": partial(draw_front, front)}
    if any(_grown(step) for step in steps):
        found["expansion"] = partial(draw_expansion, front, steps)
    if front.best and front.box:
        found["hypervolume"] = partial(draw_volume, [front])
    if any(map(_curve, trials)):
        found["curves"] = partial(draw_curves, front, trials)
    return found


def runs_figures(fronts: Sequence[Front]) -> dict[str, Draw]:
    """The figures of several runs, if their costs are the same quantity."""
    drawn = [front for front in fronts if front.best]
    if not drawn or len({front.cost for front in drawn}) > 1:
        return {}
    return {"fronts": partial(draw_fronts, drawn), "hypervolume": partial(draw_volume, drawn)}


def draw_expansion(front: Front, steps: Sequence[LedgerStep], width: float) -> Figure:
    """Each step's candidates, connected to the network they were grown from. Colour and marker show the axis, a thick line
    shows what was chosen (X3D, figure 3)."""
    steps = [step for step in steps if _grown(step)]
    known = {candidate.architecture: candidate for candidate in front.candidates}
    entries = [(step, entry) for step in steps for entry in step.entries if entry.top1 is not None]
    kinds = list(dict.fromkeys(_axis(step, entry) for step, entry in entries))
    look = {kind: (COLOURS[n % 8], MARKS[(n + n // 8) % 8]) for n, kind in enumerate(kinds)}
    bases = {step.base: known[step.base] for step in steps if step.base in known and known[step.base].top1 is not None}
    size, unit = cost_unit([*(entry.macs for _, entry in entries), *(base.cost.macs for base in bases.values())])
    columns = 7 if width > COLUMN else 2
    rows = math.ceil(len(kinds) / columns)
    figure, (axes,) = new_figure(width, title=_title("Expansion", front), note=_note(front), rows=rows)
    spots: list[tuple[float, float]] = []
    texts: list[str] = []
    colours: list[str] = []
    for step, entry in sorted(entries, key=lambda pair: (not _chosen(*pair), -(pair[1].top1 or 0))):
        chosen = _chosen(step, entry)
        colour, mark = look[_axis(step, entry)]
        spot = (entry.macs / size, 100 * (entry.top1 or 0))
        if base := bases.get(step.base) if step.base else None:
            style: dict[str, Any] = {"color": INK, "linewidth": 1.4} if chosen else {"color": GREY, "linewidth": 0.5}
            dash = (0, (4, 2)) if step.kind == "contract" else "-"
            axes.plot(
                [base.cost.macs / size, spot[0]],
                [100 * (base.top1 or 0), spot[1]],
                linestyle=dash,
                zorder=2 + chosen,
                **style,
            )
        noise = entry.spread if entry.spread is not None else entry.standard_error
        axes.errorbar(*spot, yerr=100 * (noise or 0), fmt="none", ecolor=colour, elinewidth=0.6, alpha=0.5, zorder=2)
        edge: dict[str, Any] = {"markeredgecolor": INK if chosen else "white", "markeredgewidth": 1 if chosen else 0.5}
        axes.plot(*spot, mark, color=colour, markersize=6 if chosen else 4.5, zorder=5 + chosen, **edge)
        spots.append(spot)
        texts.append(_axis(step, entry))
        colours.append(colour)
    start = next(iter(bases.values()), None)
    if start is not None:
        spots.insert(0, (start.cost.macs / size, 100 * (start.top1 or 0)))
        texts.insert(0, start.title)
        colours.insert(0, INK)
        axes.plot(*spots[0], "*", color=INK, markersize=7, zorder=6)
    for kind, (colour, mark) in look.items():
        axes.plot([], [], mark, color=colour, markersize=4.5, label=kind)
    amounts = [x for x, _ in spots]
    margin = max((max(amounts) / min(amounts)) ** 0.1, 1.05)
    log_axis(
        axes, min(amounts) / margin, max(amounts) * margin ** (1.5 if width > COLUMN else 3)
    )  # for labels at the right
    axes.set_xlabel(f"{COST_TITLES['gmacs']} ({unit}, log scale)")
    axes.set_ylabel(f"top-1 on {front.facts.clips:,} validation clips (%)")
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 0.99), ncols=columns, frameon=False, fontsize=7, borderpad=0.2,
                columnspacing=1, handletextpad=0.1, labelspacing=0.3)  # fmt: skip
    required = len(bases) and 1 + sum(_chosen(*pair) for pair in entries)
    place_labels(axes, spots, texts, colours, required=required)
    return figure


def draw_volume(fronts: Sequence[Front], width: float) -> Figure:
    """Hypervolume against hours of training, all workers together."""
    title = _title("Hypervolume", fronts[0]) if len(fronts) == 1 else "Hypervolume of several runs"
    right = longest([front.name for front in fronts]) if len(fronts) > 1 else 0.1
    figure, (axes,) = new_figure(width, title=title, note=box_text(fronts[0]), right=right)
    draw_growth(axes, fronts, over="hours")
    return figure


def draw_curves(front: Front, trials: Sequence[Trial], width: float) -> Figure:
    """Validation top-1 after each epoch, with the candidate's name at the end of its curve."""
    from matplotlib.collections import LineCollection
    from matplotlib.ticker import MaxNLocator

    curves = {trial.number: curve for trial in trials if (curve := _curve(trial))}
    drawn = [c for c in front.candidates if any(number in curves for number in c.numbers)]
    named = [c for c in drawn if len(drawn) <= MOST_CURVES or c in front.best]
    figure, (axes,) = new_figure(
        width, title=_title("Learning curves", front), note=_note(front), right=longest([c.title for c in named])
    )
    rest = [curves[number] for c in drawn if c not in named for number in c.numbers if number in curves]
    axes.add_collection(LineCollection(rest, color=GREY, linewidth=0.5, alpha=0.5, zorder=2))
    ends, colours = [], []
    for place, candidate in enumerate(named):
        own = [curves[number] for number in candidate.numbers if number in curves]
        colour = COLOURS[place % len(COLOURS)]
        for curve in own:
            xs, ys = zip(*curve, strict=True)
            dash = DASHES[place // len(COLOURS) % len(DASHES)]
            axes.plot(xs, ys, color=colour, linestyle=dash, linewidth=1.2, zorder=3)
            axes.plot(xs[-1], ys[-1], "o", color=colour, markersize=2.5, zorder=4)
        ends.append((max(curve[-1][0] for curve in own), fmean(curve[-1][1] for curve in own)))
        colours.append(colour)
    axes.autoscale_view()
    axes.set_xlim(right=max((x for x, _ in ends), default=1) + 0.05)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=9 if width > COLUMN else 5, integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel(f"top-1 on {front.facts.clips:,} validation clips (%)")
    label_ends(axes, ends, [c.title for c in named], colours)
    return figure


def _curve(trial: Trial) -> list[tuple[float, float]]:
    """Epochs and top-1 in percent, of the epochs that were validated."""
    found = ((float(entry.epoch), 100 * entry.top1) for entry in trial.curve)
    return [spot for spot in found if math.isfinite(spot[1])]


def _title(what: str, front: Front) -> str:
    return f"{what}: {front.facts.study} ({front.facts.scale}) on {front.facts.data}"


def _note(front: Front) -> str:
    facts = front.facts
    return f"Accuracy: {facts.accuracy}; {facts.training}; {facts.noise}. Cost: {facts.convention}."


def _axis(step: LedgerStep, entry: LedgerEntry) -> str:
    return ("contract " if step.kind == "contract" else "") + " = ".join(entry.axes)


def _chosen(step: LedgerStep, entry: LedgerEntry) -> bool:
    return step.chosen is not None and step.entries[step.chosen] is entry


def _grown(step: LedgerStep) -> bool:
    return step.kind != "start" and any(entry.top1 is not None for entry in step.entries)
