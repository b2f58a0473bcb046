"""Strategies against each other on a table: regret, agreement and spending over many replays, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from expand.core.study import SearchStrategy
from expand.core.trial import TrialState
from expand.replay.replay import Replay, agreement, all_once, choices, replay
from expand.replay.table import Table

Make = Callable[[int], SearchStrategy]  # a strategy with a seed
DRAWS = 1000  # of the bootstrap


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """One strategy at one budget, over all replays.

    Attributes:
        share: the budget, as a share of the multiply-adds of training every network once.
        spent: share that was used, on average.
        regret: accuracy lost against choosing the best network at each cost, by the mean over all seeds.
        excess: accuracy lost against what training every network once with the same seeds chooses, by a seed that neither saw.
        believed: the excess if the strategy's choice is made by a model of its finished trainings (`replay.believed`).
        agreement: share of costs at which a full training of all networks, with other seeds, chooses the same network.
        trainings: that were begun and that were finished, on average.
        reached: share of replays that show at least 95 % and 99 % of the full table's front (its area over log cost).
        infeasible, repeated: trainings beyond a limit, and of a network and seed that were trained already, over all replays.
    """

    strategy: str
    share: float
    spent: float
    regret: Interval
    excess: Interval
    believed: Interval
    agreement: Interval
    trainings: tuple[float, float]
    reached: tuple[float, float]
    infeasible: int
    repeated: int


def bench(
    table: Table, strategies: dict[str, Make], shares: Sequence[float], *, repeats: int = 200, workers: int = 1,
    on_replay: Callable[[], None] = lambda: None,
) -> list[Row]:  # fmt: skip
    """Replays every strategy at every budget; replay n of each sees the same seeds' curves.

    Args:
        shares: budgets, as shares of the multiply-adds of training every network once.
        on_replay: called after each replay.
    """
    full = [all_once(table, seed) for seed in range(2 * repeats)]
    rows = []
    for name, make in strategies.items():
        for share in shares:
            played = []
            for seed in range(repeats):
                played.append(replay(table, make(seed), share, seed=seed, workers=workers))
                on_replay()
            rows.append(_row(name, share, table, played, full))
    return rows


def once(table: Table, repeats: int) -> Row:
    """Training every network once, in the same terms: what strategies are compared with."""
    full = [all_once(table, seed) for seed in range(2 * repeats)]
    row = _row("all, one seed", 1.0, table, full[:repeats], full)
    return replace(row, trainings=(len(table.networks), len(table.networks)))


def _row(name: str, share: float, table: Table, played: Sequence[Replay], full: Sequence[Replay]) -> Row:
    generator = np.random.default_rng(0)
    repeats = len(played)
    regrets = np.array([each.regret for each in played])
    plain = np.array([full[seed].held for seed in range(repeats)])
    excess, believed = (plain - np.array([getattr(each, name) for each in played]) for name in ("held", "believed"))
    same = np.array([agreement(played[seed].choice, full[repeats + seed].choice) for seed in range(repeats)])
    areas = np.array([front_area(table, each.choice) for each in played]) / front_area(
        table, choices(table, table.truth)
    )
    trials = [trial for each in played for trial in each.trials]
    limit = float(table.gmacs.max())
    return Row(
        name, share, float(np.mean([each.spent for each in played])),
        _interval(regrets, generator), _interval(excess, generator),
        _interval(believed, generator), _interval(same, generator),
        (len(trials) / repeats, sum(trial.state is TrialState.COMPLETE for trial in trials) / repeats),
        (float(np.mean(areas >= 0.95)), float(np.mean(areas >= 0.99))),
        sum(trial.cost.gmacs > limit for trial in trials),
        sum(len(each.trials) - len({(t.architecture, t.suggestion.seed) for t in each.trials}) for each in played),
    )  # fmt: skip


def _interval(values: NDArray[np.float64], generator: np.random.Generator) -> Interval:
    """The mean over replays, with a 95 % bootstrap interval over them."""
    drawn = values[generator.integers(len(values), size=(DRAWS, len(values)))].mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))


def front_area(table: Table, chosen: NDArray[np.intp]) -> float:
    """The true accuracy of the chosen networks, averaged over log cost: the area below the front."""
    truth = table.truth
    return float(np.mean(np.where(chosen >= 0, truth[chosen], 0.0)))


def intervals_over_networks(
    table: Table, make: Make, share: float, *, draws: int = 50, repeats: int = 4, seed: int = 0
) -> Interval:
    """The excess with an interval that also holds for other networks and seeds than the table's own.

    Each draw takes networks and seeds of the table with replacement (networks once each, so about 63 % of them), and replays
    the strategy on what was drawn.
    """
    generator = np.random.default_rng(seed)
    found = []
    for draw in range(draws):
        rows = np.unique(generator.integers(len(table.networks), size=len(table.networks)))
        seeds = generator.integers(table.seeds, size=table.seeds)
        drawn = Table(
            table.name, table.space, tuple(table.networks[row] for row in rows), tuple(table.costs[row] for row in rows),
            table.curves[rows][:, seeds], table.clips, table.about,
        )  # fmt: skip
        excess = [
            all_once(drawn, number).held - replay(drawn, make(number), share, seed=number).held
            for number in range(draw * repeats, (draw + 1) * repeats)
        ]
        found.append(float(np.mean(excess)))
    low, high = np.quantile(found, [0.025, 0.975])
    return Interval(float(np.mean(found)), float(low), float(high))
