"""Successive halving on a front: of the networks that got as far as each other, the better half goes on.

Asynchronous successive halving (Li et al., 2018) for two objectives. Networks are ranked by their gap: the accuracy above the
best network that costs no more. By accuracy alone only expensive networks would be left. A baseline for `guided.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from expand.core.checks import require
from expand.core.errors import UsageError
from expand.core.study import Costs, Study
from expand.core.trial import Suggestion, Trial
from expand.strategies.candidates import Choice, pool
from expand.strategies.knowledge import Knowledge, at_rungs, knowledge, require_budget
from expand.strategies.learning_curves import Floats, Indices

RUNGS = (1 / 4, 1 / 2)  # shares of the epochs at which half goes on


@dataclass(frozen=True)
class Halving:
    """Starts random networks, and lets the better half of those that paused at a rung go on to the next.

    Attributes:
        axes: names of the axes to search; empty searches all axes of the space.
        within: axis, lowest and highest value, for axes of numbers that are not searched over their whole range.
        values: most values that are tried on an axis of numbers, spread evenly by ratio; 0 tries all.
        points: names of points that are trained first.
        keep: share of the networks at a rung that go on.
        seed: of the order of the networks.
    """

    axes: tuple[str, ...] = ()
    within: tuple[tuple[str, float, float], ...] = ()
    values: int = 8
    points: tuple[str, ...] = ()
    keep: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        require(
            self, "strategy.",
            values=(self.values == 0 or self.values >= 2, "at least 2, or 0 for all"),
            keep=(0 < self.keep < 1, "between 0 and 1"),
        )  # fmt: skip

    def ask(self, study: Study, trials: Sequence[Trial], macs: Costs) -> list[Suggestion]:
        """The next segment of one network's training, with all its seeds.

        Raises:
            UsageError: no budget, no limit on a cost, limits that allow no network, a budget below one full training, too few
                epochs for the rungs, or an unknown name.
        """
        found = pool(study, Choice(self.axes, self.within, self.values, self.points), macs)
        require_budget(study, found)
        epochs = study.recipe.epochs
        rungs = [round(epochs * share) for share in RUNGS]
        if rungs[0] < 1 or rungs[0] == rungs[1]:
            raise UsageError(f"recipe.epochs={epochs}: too few to pause after {' and '.join(map(str, RUNGS))} of them")
        known = knowledge(study, found, trials, [*rungs, epochs])
        for stop, goal in ((rungs[1], epochs), (rungs[0], rungs[1])):
            row = self._best_paused(known, stop)
            if row is not None and not known.spending((row, goal)).over(study):
                reason = f"among the better {100 * self.keep:.0f} % after epoch {stop}"
                return known.suggest(row, goal, "halving", reason)
        order = np.random.default_rng(self.seed).permutation(len(found.networks))
        named = list(range(len(found.names)))
        for row in [*named, *(int(each) for each in order if each >= len(named))]:
            if not known.begun[row] and not known.spending((row, epochs)).over(study):
                return known.suggest(row, rungs[0], "halving", "the next in a random order")
        return []

    def _best_paused(self, known: Knowledge, stop: int) -> int | None:
        """The network with the largest gap that paused here and may go on; None while the better ones already did."""
        rows, top1 = _at(known, stop)
        gaps = gaps_to_front(known.pool.costs[rows], top1)
        allowed = int(self.keep * len(rows))
        for place in sorted(range(len(rows)), key=lambda place: (-gaps[place], int(rows[place])))[:allowed]:
            row = int(rows[place])
            if known.reached[row] == stop and not known.running[row] and not known.out[row]:
                return row
        return None


def _at(known: Knowledge, stop: int) -> tuple[Indices, Floats]:
    """The networks with a result at an epoch, and their mean top-1 there."""
    seen: dict[int, list[float]] = {}
    for trial in known.trials:
        if trial.architecture in known.pool.index:
            for _, value in at_rungs(trial, [stop]):
                seen.setdefault(known.pool.index[trial.architecture], []).append(value)
    rows = sorted(seen)
    return np.array(rows, dtype=np.intp), np.array([float(np.mean(seen[row])) for row in rows])


def gaps_to_front(costs: Floats, top1: Floats) -> Floats:
    """How far each network is above the best of the others that cost no more; infinite where no other costs as little.

    Args:
        costs: (networks, objectives).
        top1: (networks,).
    """
    gaps = np.full(len(top1), np.inf)
    for row in range(len(top1)):
        others = np.all(costs <= costs[row], axis=1)
        others[row] = False
        if others.any():
            gaps[row] = top1[row] - top1[others].max()
    return gaps
