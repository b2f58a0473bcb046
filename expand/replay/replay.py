"""Plays a search on a table of trained networks: what it would have trained, found and spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from expand.core.attempt import Epoch
from expand.core.study import Budget, Objective, Recipe, SearchStrategy, Study
from expand.core.trial import Metrics, Suggestion, Trial, TrialState
from expand.replay.table import Table, TableSpace
from expand.strategies.budget import affordable
from expand.strategies.candidates import coordinates
from expand.strategies.learning_curves import Results, fit

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Replay:
    """One search on a table.

    Attributes:
        trials: in the order of their numbers.
        spent: share of the multiply-adds of training every network once.
        regret: top-1 that is lost, from 0 to 1, against choosing the best network at each cost (`regret`).
        choice: (costs,): the row of the network that is chosen at each cost of `grid`; -1 where none is.
        held: top-1 of the chosen networks with a seed that the search never saw, averaged over log cost. Differences of it
            between searches are without bias; `regret` flatters a search that saw the seeds that the truth is the mean of.
        believed: the same as `held` if the choice is made by what a model of all finished trainings expects (`believed`).
    """

    trials: tuple[Trial, ...]
    spent: float
    regret: float
    choice: NDArray[np.intp]
    held: float
    believed: float


def study_on(table: Table, strategy: SearchStrategy, share: float) -> Study:
    """A study whose budget is this share of the multiply-adds of training every network of the table once."""
    top1 = Objective("top1", "maximize")
    seeds = tuple(range(max(1, table.seeds - 1))) if getattr(strategy, "race", False) else (0,)
    gmacs = Objective("gmacs", "minimize", known_before_training=True, limit=float(table.gmacs.max()))
    budget = Budget(gmac_epochs=share * float(table.gmacs.sum()) * table.epochs)
    return Study(
        table.name, TableSpace(table), strategy, Recipe(epochs=table.epochs), budget=budget, objectives=(top1, gmacs),
        seeds=seeds,
    )  # fmt: skip


def replay(table: Table, strategy: SearchStrategy, share: float, *, seed: int = 0, workers: int = 1) -> Replay:
    """Runs a strategy until it ends.

    Args:
        share: the budget, as a share of the multiply-adds of training every network once.
        seed: which of its seeds' curves each network shows.
        workers: trainings at a time; a training takes as long as its multiply-adds.
    """
    study = study_on(table, strategy, share)
    offsets = offsets_of(table, seed)
    trials: dict[int, Trial] = {}
    ends: dict[int, float] = {}  # of running trials
    now = 0.0
    while True:
        while len(ends) < workers:
            known = list(trials.values())
            wanted, _ = affordable(study, known, strategy.ask(study, known, table), table)
            if not wanted:
                break
            for suggestion in wanted:
                trial = _begun(trials, suggestion, table)
                trials[trial.number] = trial
                left = suggestion.last_epoch - len(trial.curve)
                ends[trial.number] = now + left * trial.cost.gmacs
        if not ends:
            break
        number = min(ends, key=lambda each: (ends[each], each))
        now = ends.pop(number)
        trials[number] = _stopped(trials[number], table, int(offsets[table.index[trials[number].architecture]]))
    final = tuple(trials[number] for number in sorted(trials))
    done = sum(trial.cost.gmacs * trial.reached for trial in final)
    results: list[list[float]] = [[] for _ in table.networks]
    for trial in final:
        if trial.metrics is not None:
            results[table.index[trial.architecture]].append(trial.metrics.top1)
    return _judged(table, final, done / float(table.gmacs.sum() * table.epochs), results, offsets)


def _judged(
    table: Table, trials: tuple[Trial, ...], spent: float, results: Sequence[Sequence[float]], offsets: NDArray[np.intp]
) -> Replay:
    chosen, expected = choices(table, measured(results)), choices(table, believed(table, results))
    unseen = table.curves[np.arange(len(table.networks)), (offsets + table.seeds - 1) % table.seeds, -1]
    held, by_model = (float(np.mean(np.where(own >= 0, unseen[own], unseen.min()))) for own in (chosen, expected))
    return Replay(trials, spent, regret(table, chosen), chosen, held, by_model)


def offsets_of(table: Table, seed: int) -> NDArray[np.intp]:
    """(networks,): seed s of a network shows the curve of seed s + offset; the last one is never shown, unless it is the only."""
    return np.random.default_rng(seed).integers(table.seeds, size=len(table.networks))


def measured(results: Sequence[Sequence[float]]) -> Floats:
    """(networks,): the mean over seeds; nan where a network was not trained to its end."""
    return np.array([np.mean(each) if each else np.nan for each in results])


def believed(table: Table, results: Sequence[Sequence[float]]) -> Floats:
    """(networks,): what a Gaussian process over all finished trainings expects of the networks that were trained, which draws
    lucky trainings towards networks like them; nan where a network was not trained to its end."""
    seen = [(row, top1) for row, own in enumerate(results) for top1 in own]
    if not seen:
        return measured(results)
    rows = np.array([row for row, _ in seen], dtype=np.intp)
    model = fit(coordinates(table.networks), Results(rows, np.ones(len(rows)), np.array([top1 for _, top1 in seen])))
    mean, _ = model.mean_and_deviation(np.arange(len(table.networks)))
    return np.where([bool(each) for each in results], mean, np.nan)


def _begun(trials: dict[int, Trial], suggestion: Suggestion, table: Table) -> Trial:
    """A new trial, or a paused one that goes on."""
    for trial in trials.values():
        if (trial.architecture, trial.suggestion.seed) == (suggestion.architecture, suggestion.seed):
            assert trial.state is TrialState.PAUSED, f"trial {trial.number} is suggested again: {suggestion}"
            return replace(trial, state=TrialState.RUNNING, suggestion=suggestion)
    return Trial(len(trials), TrialState.RUNNING, suggestion, table.cost(suggestion.architecture))


def _stopped(trial: Trial, table: Table, offset: int) -> Trial:
    """The trial once it has reached its stop. Seed s of a network shows the curve of seed s + offset."""
    row = table.curves[table.index[trial.architecture], (trial.suggestion.seed + offset) % table.seeds]
    last = trial.suggestion.last_epoch
    curve = tuple(Epoch(number + 1, 0.0, float(top1)) for number, top1 in enumerate(row[:last]))
    if last < table.epochs:
        return replace(trial, state=TrialState.PAUSED, curve=curve)
    return replace(
        trial, state=TrialState.COMPLETE, curve=curve, metrics=Metrics(curve[-1].top1, 1.0, 0.0, table.clips, 1)
    )


POINTS = 200  # of the cost grid


def grid(table: Table) -> Floats:
    """Costs in GMACs at which a network is chosen, evenly spaced by ratio over the table."""
    return np.geomspace(float(table.gmacs.min()), float(table.gmacs.max()), POINTS)


def choices(table: Table, shown: Floats) -> NDArray[np.intp]:
    """At each cost of the grid, the network with the best accuracy shown within it; -1 where none was trained.

    Args:
        shown: (networks,): the accuracy that a search shows; nan where it shows none.
    """
    order = np.argsort(table.gmacs, kind="stable")
    best, found, place = -np.inf, -1, 0
    chosen = np.empty(POINTS, dtype=np.intp)
    for number, cost in enumerate(grid(table) * (1 + 1e-9)):
        while place < len(order) and table.gmacs[order[place]] <= cost:
            if shown[order[place]] > best:
                best, found = float(shown[order[place]]), int(order[place])
            place += 1
        chosen[number] = found
    return chosen


def regret(table: Table, chosen: NDArray[np.intp]) -> float:
    """Accuracy lost by these choices against the best network within each cost, averaged over log cost. Where nothing is
    chosen all accuracy above guessing the worst network is lost."""
    truth = table.truth
    best = truth[choices(table, truth)]
    own = np.where(chosen >= 0, truth[chosen], truth.min())
    return float(np.mean(best - own))


def all_once(table: Table, seed: int) -> Replay:
    """Training every network once, to compare with: which seed each shows is drawn as in `replay`."""
    offsets = offsets_of(table, seed)
    shown = table.curves[np.arange(len(table.networks)), offsets, -1]
    return _judged(table, (), 1.0, [[float(top1)] for top1 in shown], offsets)


def agreement(one: NDArray[np.intp], other: NDArray[np.intp]) -> float:
    """Share of the costs at which two searches choose the same network."""
    return float(np.mean(one == other))


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error."""
    array = np.asarray(values, dtype=float)
    return float(array.mean()), float(array.std(ddof=1) / np.sqrt(len(array))) if len(array) > 1 else 0.0
