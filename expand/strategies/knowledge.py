"""What a strategy knows of the networks it may choose from: how far each was trained, and what was seen on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from expand.core.errors import UsageError
from expand.core.pareto import Direction, pareto_front
from expand.core.study import Study
from expand.core.trial import Suggestion, Trial, TrialState
from expand.strategies.budget import Spending
from expand.strategies.candidates import Pool
from expand.strategies.grid import name_of
from expand.strategies.learning_curves import Floats, Indices, Results

Flags = NDArray[np.bool_]
WITHOUT_RESULT = (TrialState.FAILED, TrialState.INFEASIBLE, TrialState.PRUNED)


@dataclass(frozen=True)
class Knowledge:
    """The trials of a study by network. Arrays have an entry per network of the pool.

    In a race the study has one seed here, and trials with other seeds only add results.

    Attributes:
        trials: by number.
        reached: the epoch at which its trainings stopped or will stop, the earliest of the study's seeds; 0 where nothing was
            begun.
        begun: has trials.
        running: trains.
        done: all its trials with the study's seeds are complete.
        out: a trial with one of the study's seeds ended without a result; it is not suggested again.
        seeds: seeds that it was begun with.
        top1: mean of its complete trials; nan without one.
        results: top-1 at the rungs that were passed, an entry per trial and rung.
    """

    study: Study
    pool: Pool
    trials: tuple[Trial, ...]
    reached: Indices
    begun: Flags
    running: Flags
    done: Flags
    out: Flags
    seeds: Indices
    top1: Floats
    results: Results

    @property
    def seen(self) -> int:
        return len(self.results.share)

    @property
    def in_progress(self) -> Results:
        """What the running trials will have shown when they stop, without the values."""
        rows = np.flatnonzero(self.running)
        return Results(rows, self.reached[rows] / self.study.recipe.epochs, np.zeros(len(rows)))

    def front(self, top1: Floats, among: Flags) -> list[int]:
        """Rows of the Pareto front of these networks with these accuracies."""
        rows = [int(row) for row in np.flatnonzero(among)]
        directions: list[Direction] = ["maximize", *["minimize"] * self.pool.costs.shape[1]]  # type: ignore[list-item]
        points = [(float(top1[row]), *map(float, self.pool.costs[row])) for row in rows]
        return [rows[index] for index in pareto_front(points, directions)]

    def spending(self, *segments: tuple[int, int]) -> Spending:
        """What all trials have spent after these segments too: a network's row and the epoch at which it stops."""
        spent = Spending.of(self.trials)
        for row, until in segments:
            seeds = len(self.study.seeds)
            again = bool(self.done[row])  # another seed of a finished network
            new = 0 if self.begun[row] and not again else seeds
            left = until - (0 if again else int(self.reached[row]))
            spent = spent.plus(new, left * seeds, float(self.pool.gmacs[row]))
        return spent

    def _name(self, row: int) -> str:
        """A named point's name, or the network's values on the searched axes."""
        space, searched = self.study.space, dict(self.pool.lists)
        axes = [axis for axis in space.axes if axis.parameter in searched]
        return self.pool.name(row) or name_of(space, axes, self.pool.networks[row])

    def suggest(
        self, row: int, until: int, kind: str, reason: str, predicted: tuple[float, float] | None = None
    ) -> list[Suggestion]:
        """A suggestion for each seed of the study that has not got so far: new trials, and paused ones that go on."""
        network, stop = self.pool.networks[row], None if until >= self.study.recipe.epochs else until
        by_seed = {trial.suggestion.seed: trial for trial in self.trials if trial.architecture == network}
        new = Suggestion(
            network, self.study.recipe.epochs, 0, kind=kind, reason=reason, name=self._name(row), until=stop,
            seen=self.seen, predicted=predicted,
        )  # fmt: skip
        found = []
        for seed in self.study.seeds:
            trial = by_seed.get(seed)
            if trial is None:
                found.append(replace(new, seed=seed))
            elif trial.state is TrialState.PAUSED and trial.reached < until:
                found.append(replace(trial.suggestion, until=stop, seen=self.seen, predicted=predicted, reason=reason))
        return found

    def again(self, row: int, seed: int, reason: str, predicted: tuple[float, float]) -> list[Suggestion]:
        """A finished network trained to its end with another seed."""
        network = self.pool.networks[row]
        return [
            Suggestion(
                network, self.study.recipe.epochs, seed, kind="guided", reason=reason, name=self._name(row), seen=self.seen,
                predicted=predicted,
            )
        ]  # fmt: skip

    def whole(self, row: int, kind: str, reason: str) -> list[Suggestion]:
        """A network's training to its end; nothing if the budget does not allow it."""
        epochs = self.study.recipe.epochs
        return [] if self.spending((row, epochs)).over(self.study) else self.suggest(row, epochs, kind, reason)


def knowledge(study: Study, pool: Pool, trials: Sequence[Trial], rungs: Sequence[int]) -> Knowledge:
    """Trials in any order, sorted and summed over seeds.

    Args:
        rungs: the epochs at which results count, in rising order; the last is the end.
    """
    ordered = tuple(sorted(trials, key=lambda trial: trial.number))
    count = len(pool.networks)
    reached, seeds, top1 = np.zeros(count, dtype=np.intp), np.zeros(count, dtype=np.intp), np.full(count, np.nan)
    begun, running, done, out = (np.zeros(count, dtype=np.bool_) for _ in range(4))
    by_row: dict[int, list[Trial]] = {}
    for trial in ordered:
        if trial.architecture in pool.index:
            by_row.setdefault(pool.index[trial.architecture], []).append(trial)
    seen: list[tuple[int, float, float]] = []
    for row, own in by_row.items():
        planned = [trial for trial in own if trial.suggestion.seed in study.seeds] or own
        complete = [trial.metrics.top1 for trial in own if trial.state is TrialState.COMPLETE and trial.metrics]
        begun[row], seeds[row] = True, len(own)
        done[row] = all(trial.state is TrialState.COMPLETE and trial.metrics for trial in planned)
        running[row] = any(trial.state is TrialState.RUNNING for trial in own)
        out[row] = any(trial.state in WITHOUT_RESULT for trial in planned)
        reached[row] = min(trial.suggestion.last_epoch for trial in planned)
        top1[row] = mean(complete) if complete else np.nan
        seen += [(row, rung / rungs[-1], value) for trial in own for rung, value in at_rungs(trial, rungs)]
    results = Results(
        np.array([row for row, _, _ in seen], dtype=np.intp),
        np.array([share for _, share, _ in seen], dtype=float),
        np.array([value for _, _, value in seen], dtype=float),
    )
    return Knowledge(study, pool, ordered, reached, begun, running, done, out, seeds, top1, results)


def at_rungs(trial: Trial, rungs: Sequence[int]) -> list[tuple[int, float]]:
    """Top-1 of a trial at the rungs where it has stopped or which it has passed.

    The mean of the last two epochs, which lowers the noise of single epochs; at the end, what the front shows. A running trial
    has only what it had shown when it last stopped.
    """
    stopped = trial.state not in (TrialState.RUNNING, TrialState.INFEASIBLE)
    by_epoch = {entry.epoch: entry.top1 for entry in trial.curve}
    found = []
    for rung in rungs:
        if rung == trial.suggestion.epochs and trial.state is TrialState.COMPLETE and trial.metrics:
            found.append((rung, trial.metrics.top1))
        elif rung in by_epoch and stopped:
            found.append((rung, mean(by_epoch[epoch] for epoch in (rung - 1, rung) if epoch in by_epoch)))
    return found


def at_rung_and_end(trials: Sequence[Trial], rung: int) -> tuple[list[float], list[float]]:
    """Top-1 of complete trials at an epoch and at the end."""
    early, late = [], []
    for trial in trials:
        if trial.state is TrialState.COMPLETE and trial.metrics:
            for _, value in at_rungs(trial, [rung]):
                early.append(value)
                late.append(trial.metrics.top1)
    return early, late


def require_budget(study: Study, pool: Pool) -> None:
    """A search that never runs out of networks needs a budget that ends it, and one that allows a network.

    Raises:
        UsageError: neither.
    """
    budget = study.budget
    if (budget.trials, budget.epochs, budget.hours, budget.gmac_epochs) == (None, None, None, None):
        raise UsageError(
            "this search needs budget.gmac_epochs, budget.trials, budget.epochs or budget.hours, or it would train all "
            f"{len(pool.networks)} networks"
        )
    cheapest = float(pool.gmacs.min())
    seeds, epochs = len(study.seeds), study.recipe.epochs
    over = Spending().plus(seeds, epochs * seeds, cheapest).over(study)
    if over:
        raise UsageError(
            f"{over[0]} is too small to train one network to its end: the cheapest takes {seeds} trial"
            f"{'s' if seeds > 1 else ''}, {epochs * seeds} epochs, {cheapest * epochs * seeds:.4g} gmac_epochs"
        )
