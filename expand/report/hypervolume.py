"""Progress of a search: multiply-adds spent on training, growth of the hypervolume, gain in accuracy per axis.

Pure functions of trials and candidates. Standard library only.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from expand.core.pareto import Direction, hypervolume, pareto_front
from expand.core.trial import Trial, TrialState
from expand.report.candidates import Candidate, CostName
from expand.strategies.inherited import from_scratch

if TYPE_CHECKING:
    from expand.strategies.ledger import LedgerStep

COST_AND_ACCURACY: tuple[Direction, Direction] = ("minimize", "maximize")


@dataclass(frozen=True)
class Box:
    """The bounds of a hypervolume: costs from `low` to `high` on a log axis, top-1 from `floor` up."""

    low: float
    high: float
    floor: float = 0.0

    @property
    def doublings(self) -> float:
        return math.log2(self.high / self.low)

    def share(self, points: Iterable[tuple[float, float]]) -> float:
        """The best top-1 above the floor at each cost, averaged over the log of cost. Points are (cost, top-1).

        Below the cheapest network it is 0. A network cheaper than `low` counts from `low` on.
        """
        logs = [(math.log2(max(cost, self.low)), top1) for cost, top1 in points]
        return hypervolume(logs, COST_AND_ACCURACY, (math.log2(self.high), self.floor)) / self.doublings


@dataclass(frozen=True)
class Moment:
    """Training spent and hypervolume reached when the trial `number` ended. Training of failed trials counts too."""

    number: int
    seconds: float
    macs: int
    volume: float


@dataclass(frozen=True)
class Payoff:
    """The gain in accuracy of one axis.

    Attributes:
        offered: steps in which it was a candidate.
        chosen: steps in which it was chosen.
        gains: top-1 gained per doubling of cost, as a fraction, one for each step in which its candidate was trained in full.
            A candidate that two axes lead to counts for both.
    """

    axis: str
    offered: int
    chosen: int
    gains: tuple[float, ...]

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.gains) if self.gains else None

    @property
    def standard_error(self) -> float | None:
        """Of the mean, from the differences between steps."""
        return statistics.stdev(self.gains) / math.sqrt(len(self.gains)) if len(self.gains) > 1 else None


def training_macs(trial: Trial, training_clips: int, validation_clips: int, views: int) -> int:
    """Multiply-adds of the trained epochs: three times the network's per training clip (a backward pass costs twice a forward
    pass), once per validation clip. After the last planned epoch each video is scored with `views` clips."""
    epochs = len(trial.curve)
    looked = views if epochs and epochs >= trial.suggestion.epochs else 1
    return whole_training_macs(trial.cost.macs, epochs, training_clips, validation_clips, looked)


def whole_training_macs(macs: int, epochs: int, training_clips: int, validation_clips: int, views: int) -> int:
    """The same for so many epochs of a network, the last one scored with `views` clips per video."""
    return macs * (3 * epochs * training_clips + (epochs + (views - 1 if epochs else 0)) * validation_clips)


def box_of(runs: Iterable[Iterable[Candidate]], name: CostName) -> Box | None:
    """One box for the complete candidates of all these runs, None if there are none. It begins at the cost at which every run
    has a network, and ends at twice the most expensive one, so that this one counts too."""
    costs = [[c.amount(name) for c in own if c.state is TrialState.COMPLETE and c.amount(name) > 0] for own in runs]
    costs = [own for own in costs if own]
    return Box(max(map(min, costs)), 2 * max(map(max, costs))) if costs else None


def growth(
    trials: Sequence[Trial], candidates: Sequence[Candidate], name: CostName, box: Box | None, spent: Mapping[int, int]
) -> tuple[Moment, ...]:
    """One moment per ended trial, in the order in which they ended. A candidate counts once its last trial has ended.
    `spent` holds training multiply-adds by trial number. Trainings from inherited weights do not count."""
    trials = from_scratch(trials)
    last = {max(c.numbers): c for c in candidates if c.state is TrialState.COMPLETE}
    seconds, macs, volume, moments = 0.0, 0, 0.0, []
    best: list[tuple[float, float]] = []
    for trial in sorted((t for t in trials if t.state.ended), key=lambda t: (t.ended, t.number)):
        seconds, macs = seconds + trial.train_seconds, macs + spent.get(trial.number, 0)
        candidate = last.get(trial.number)
        if box and candidate is not None and candidate.top1 is not None and candidate.amount(name) > 0:
            best.append((candidate.amount(name), candidate.top1))
            best = [best[index] for index in pareto_front(best, COST_AND_ACCURACY)]
            volume = box.share(best)
        moments.append(Moment(trial.number, seconds, macs, volume))
    return tuple(moments)


def payoffs(steps: Sequence[LedgerStep], candidates: Sequence[Candidate]) -> tuple[Payoff, ...]:
    """One per axis, over all expansion steps, the best mean first; axes without a measured gain come last."""
    scored = {c.architecture: c.top1 for c in candidates}
    found: dict[str, tuple[list[bool], list[float]]] = {}
    for step in steps:
        if step.kind != "expand":
            continue
        base = scored.get(step.base) if step.base is not None else None
        for index, entry in enumerate(step.entries):
            for axis in entry.axes:
                chosen, gains = found.setdefault(axis, ([], []))
                chosen.append(index == step.chosen)
                if entry.top1 is not None and base is not None and entry.ratio > 1:
                    gains.append((entry.top1 - base) / math.log2(entry.ratio))
    made = [Payoff(axis, len(chosen), sum(chosen), tuple(gains)) for axis, (chosen, gains) in found.items()]
    return tuple(sorted(made, key=lambda p: (p.mean is None, -(p.mean or 0.0), p.axis)))
