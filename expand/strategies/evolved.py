"""Evolution: children of the best networks so far, one at a time.

Steady-state NSGA-II (Deb et al., 2002; steady state: Durillo et al., 2009): there are no generations to wait for. A pure function
of the trials; random numbers depend on the seed and the number of trials alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from expand.core.checks import require
from expand.core.pareto import Direction, pareto_front
from expand.core.space import Architecture, SearchSpace, Value
from expand.core.study import Costs, Study
from expand.core.trial import Suggestion, Trial
from expand.strategies.candidates import Choice, first_networks, legal, moved, pool
from expand.strategies.knowledge import Knowledge, knowledge, require_budget
from expand.strategies.learning_curves import Floats

CROSSOVER = 0.7  # share of the children that have two parents
TRIES = 500  # children that are known or beyond a limit, before a random network is taken


@dataclass(frozen=True)
class Evolved:
    """Trains children of the networks that are best by Pareto rank, then by distance to their neighbours on the front.

    Attributes:
        axes: names of the axes to search; empty searches all axes of the space.
        within: axis, lowest and highest value, for axes of numbers that are not searched over their whole range.
        values: most values that are tried on an axis of numbers, spread evenly by ratio; 0 tries all.
        points: names of points that are trained first.
        parents: how many of the best networks may have children.
        first: networks trained before there are children; 0 is one more than the axes, at least 6.
        seed: of all random choices.
    """

    axes: tuple[str, ...] = ()
    within: tuple[tuple[str, float, float], ...] = ()
    values: int = 8
    points: tuple[str, ...] = ()
    parents: int = 12
    first: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        require(
            self, "strategy.",
            values=(self.values == 0 or self.values >= 2, "at least 2, or 0 for all"),
            parents=(self.parents >= 2, "at least 2"),
            first=(self.first >= 0, "0 or more"),
        )  # fmt: skip

    @property
    def choice(self) -> Choice:
        return Choice(self.axes, self.within, self.values, self.points)

    def ask(self, study: Study, trials: Sequence[Trial], macs: Costs) -> list[Suggestion]:
        """One network with all its seeds.

        Raises:
            UsageError: no budget, no limit on a cost, limits that allow no network, a budget below one training, or an unknown
                name.
        """
        found = pool(study, self.choice, macs, [trial.architecture for trial in trials])
        require_budget(study, found)
        known = knowledge(study, found, trials, [study.recipe.epochs])
        count = self.first or max(6, len(self.axes or study.space.axes) + 1)
        for row in first_networks(found, count, self.seed):
            if not known.begun[row]:
                return known.whole(row, "evolved", f"one of the first {count} networks, spread over all costs")
        generator = np.random.default_rng([self.seed, len(trials)])
        parents = best_rows(known, self.parents)
        if not parents:
            return []  # wait for a first result
        for _ in range(TRIES):
            child, reason = _child(study.space, known, parents, generator)
            if child is None:
                continue
            wider = pool(study, self.choice, macs, [*(trial.architecture for trial in trials), child])
            place = wider.index.get(child)
            if place is not None and (place >= len(known.begun) or not known.begun[place]):
                return knowledge(study, wider, trials, [study.recipe.epochs]).whole(place, "evolved", reason)
        unseen = np.flatnonzero(~known.begun)
        if not unseen.size:
            return []
        return known.whole(int(generator.choice(unseen)), "evolved", "random: all children near the front are known")


def best_rows(known: Knowledge, count: int) -> list[int]:
    """The best complete networks by Pareto rank; within the last rank that fits in part, those with the most distance to their
    neighbours in (log cost, accuracy)."""
    left = np.flatnonzero(known.done)
    chosen: list[int] = []
    directions: list[Direction] = ["maximize", *["minimize"] * known.pool.costs.shape[1]]  # type: ignore[list-item]
    while left.size and len(chosen) < count:
        points = [(float(known.top1[row]), *map(float, known.pool.costs[row])) for row in left]
        front = left[pareto_front(points, directions)]
        spread = crowding(np.column_stack([known.top1[front], np.log2(known.pool.costs[front])]))
        order = sorted(range(len(front)), key=lambda place: (-spread[place], int(front[place])))
        chosen += [int(front[place]) for place in order][: count - len(chosen)]
        left = np.setdiff1d(left, front)
    return chosen


def crowding(points: Floats) -> Floats:
    """Distance of each point to its two neighbours, summed over the columns; infinite at the ends.

    Source: NSGA-II (Deb et al., 2002), section III-B.
    """
    found = np.zeros(len(points))
    for column in points.T:
        order = np.argsort(column, kind="stable")
        span = float(column[order[-1]] - column[order[0]]) or 1.0
        found[order[[0, -1]]] = np.inf
        found[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return found


def _child(
    space: SearchSpace, known: Knowledge, parents: Sequence[int], generator: np.random.Generator
) -> tuple[Architecture | None, str]:
    """A network made of one or two parents, with one or two axes moved by one or two values; None if it is not legal."""
    networks = known.pool.networks
    first, second = (networks[_winner(parents, generator)] for _ in range(2))
    values: dict[str, Value] = first.as_dict()
    crossed = first != second and generator.random() < CROSSOVER
    if crossed:
        other = second.as_dict()
        values = {name: other.get(name, value) if generator.random() < 0.5 else value for name, value in values.items()}
    child = legal(space, values)
    moves = 0
    for _ in range(int(generator.integers(1, 3))):
        if child is not None:
            child, moves = moved(space, known.pool, child, generator), moves + 1
    source = f"trials with {first.changes(second) or 'equal values'} crossed, " if crossed else ""
    return child, f"{source}{moves} axes moved from {first if not crossed else 'there'}"


def _winner(parents: Sequence[int], generator: np.random.Generator) -> int:
    """The better of two random parents; they are in order."""
    one, other = generator.integers(len(parents), size=2)
    return parents[min(int(one), int(other))]
