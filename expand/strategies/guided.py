"""Guided search: a model of all learning curves says which training is worth its cost next.

A Gaussian process over networks and epochs (`learning_curves.py`) predicts what each network will reach. Costs are known exactly
before training, so only accuracy is uncertain, and the expected gain of the front has a closed form. The network with the
largest expected gain for its share of the budget is trained next, for a segment of its epochs: what does not look promising stays
paused.

A pure function of the trials. It answers whenever a worker is free and never waits for a round to end.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import kendalltau

from expand.core.accuracy import percent
from expand.core.checks import require
from expand.core.errors import UsageError
from expand.core.study import Costs, Study
from expand.core.trial import Suggestion, Trial
from expand.strategies.candidates import Choice, Pool, first_networks, neighbours, pool
from expand.strategies.knowledge import Flags, Knowledge, at_rung_and_end, knowledge, require_budget
from expand.strategies.learning_curves import Floats, Indices, expected_gain, fit
from expand.strategies.prior import PRIORS, Prior, judged

RUNGS = (1 / 8, 1 / 4, 1 / 2)  # after these shares of its epochs a training may pause
FINISHED, AGREEMENT = 8, 0.5  # networks, and Kendall's tau with their ends, before results at a rung are trusted
REFIT = 6  # new results until scales and lengths are learned anew


@dataclass(frozen=True)
class Guided:
    """Trains what promises the largest gain of the accuracy-cost front for its share of the budget.

    Source: freeze-thaw Bayesian optimisation (arXiv 1406.3896); the expected hypervolume improvement with one uncertain
    objective is a sum of expected improvements over the segments of the front.

    Attributes:
        axes: names of the axes to search; empty searches all axes of the space.
        within: axis, lowest and highest value, for axes of numbers that are not searched over their whole range.
        values: most values that are tried on an axis of numbers, spread evenly by ratio; 0 tries all.
        points: names of points that are trained first.
        pauses: "auto" pauses trainings once finished ones show that earlier results agree with later ones; "always" from the
            beginning; "never" trains every network to its end.
        first: networks trained before the model is asked; 0 is one more than the axes, at least 6.
        enough: the search ends when no training promises this gain of the front, in accuracy times doublings of the cost.
        race: whether every network is trained with the study's first seed, and the others go to networks of the front and their
            rivals, where one more training is expected to change the choice most. Otherwise all networks have all seeds.
        seed: of the random choice of the first networks.
        prior: "entropy" or "params": a score of untrained networks that the model sees too, once it ranks the networks that this
            run has finished, at least 8, better than multiply-adds do; none uses no score.

    Examples:
        >>> from dataclasses import replace
        >>> from expand.core.study import Budget, Objective
        >>> from expand.counting.cost import MacsCounter
        >>> from studies.x3d_stepwise import study
        >>> costs = (Objective("top1", "maximize"), Objective("gmacs", "minimize", known_before_training=True, limit=0.005))
        >>> guided = replace(study("demo"), strategy=Guided(values=3), objectives=costs, budget=Budget(trials=20))
        >>> [suggestion.kind for suggestion in guided.strategy.ask(guided, [], MacsCounter(guided.space, 10))]
        ['guided']
    """

    axes: tuple[str, ...] = ()
    within: tuple[tuple[str, float, float], ...] = ()
    values: int = 8
    points: tuple[str, ...] = ()
    pauses: str = "auto"
    first: int = 0
    enough: float = 0.001
    race: bool = False
    seed: int = 0
    prior: str | None = None

    def __post_init__(self) -> None:
        require(
            self, "strategy.",
            pauses=(self.pauses in ("auto", "always", "never"), "allowed are auto, always, never"),
            values=(self.values == 0 or self.values >= 2, "at least 2, or 0 for all"),
            first=(self.first >= 0, "0 or more"),
            enough=(self.enough >= 0, "0 or more"),
            prior=(self.prior in (None, *PRIORS), f"allowed are {', '.join(PRIORS)}, none"),
        )  # fmt: skip

    @property
    def choice(self) -> Choice:
        return Choice(self.axes, self.within, self.values, self.points)

    def ask(self, study: Study, trials: Sequence[Trial], macs: Costs) -> list[Suggestion]:
        """The next segment of one network's training, with all its seeds.

        Raises:
            UsageError: no budget, no limit on a cost, limits that allow no network, a budget below one full training, fewer
                epochs than rungs, or an unknown name.
        """
        seeds = study.seeds
        if self.race and len(seeds) < 2:
            raise UsageError("strategy.race=true: a race needs several seeds, such as --set seeds=0,1,2,3,4")
        if self.race:
            study = replace(study, seeds=seeds[:1])
        found = self._pool(study, trials, macs)
        require_budget(study, found)
        rungs = self._rungs(study, trials)
        known = knowledge(study, found, trials, rungs)
        count = self.first or max(6, len(self.axes or study.space.axes) + 1)
        for row in first_networks(found, count, self.seed):
            if not known.begun[row]:
                begun = [*np.flatnonzero(known.begun & ~known.out), row]
                cheapest = int(min(begun, key=lambda each: found.gmacs[each]))  # at least this one must be finished
                if known.spending((row, rungs[0]), (cheapest, rungs[-1])).over(study):
                    break
                reason = f"one of the first {count} networks, spread over all costs"
                return known.suggest(row, rungs[0], "guided", reason)
        if not known.seen:
            return []
        prior = judged(self.prior, known, macs) if self.prior else None
        return _next_training(known, rungs, self.enough, seeds if self.race else (), prior)

    def _pool(self, study: Study, trials: Sequence[Trial], macs: Costs) -> Pool:
        """All networks; of a sampled pool also those next to the front."""
        trained = [trial.architecture for trial in trials]
        found = pool(study, self.choice, macs, trained)
        if found.complete or not trained:
            return found
        known = knowledge(study, found, trials, [study.recipe.epochs])
        near = [neighbours(study.space, found, found.networks[row]) for row in known.front(known.top1, known.done)]
        return pool(study, self.choice, macs, [*trained, *itertools.chain.from_iterable(near)])

    def _rungs(self, study: Study, trials: Sequence[Trial]) -> list[int]:
        """The epochs after which a training may pause; the last is the end.

        Raises:
            UsageError: with `pauses` "always", where there are too few epochs for that.
        """
        epochs = study.recipe.epochs
        rungs = sorted({max(1, round(epochs * share)) for share in RUNGS} - {epochs})
        if self.pauses == "always" and len(rungs) < len(RUNGS):
            shares = ", ".join(f"{share:g}" for share in RUNGS)
            raise UsageError(f"recipe.epochs={epochs}: too few for pauses after {shares} of them")
        if self.pauses == "always":
            return [*rungs, epochs]
        if self.pauses == "auto":
            for start, rung in enumerate(rungs):
                early, late = at_rung_and_end(trials, rung)
                if len(early) >= FINISHED and kendalltau(early, late).statistic >= AGREEMENT:
                    return [*rungs[start:], epochs]
        return [epochs]


@dataclass(frozen=True)
class Outlook:
    """What the model expects of every network of the pool. Arrays have an entry per network.

    Attributes:
        mean, deviation: of its accuracy at the end.
        gain: what its next training is expected to add to the front.
        again: whether that is one more seed of a finished network.
        stops: the epoch at which its next training stops.
        work: what its next training uses up of the budget (`_work`).
    """

    mean: Floats
    deviation: Floats
    gain: Floats
    again: Flags
    stops: Indices
    work: Floats


def _outlook(known: Knowledge, rungs: Sequence[int], most_seeds: int, prior: Prior | None) -> Outlook:
    pool, epochs = known.pool, rungs[-1]
    model = fit(
        prior.points if prior else pool.points, known.results, learn_from=max(REFIT, known.seen // REFIT * REFIT)
    )
    mean, deviation = model.mean_and_deviation(np.arange(len(pool.networks)), known.in_progress)
    gain = front_gain(pool.costs, mean, deviation, known.done)
    again = known.done & ~known.running & (known.seeds < most_seeds)
    if again.any():
        gain[again] = seed_gain(pool.costs, mean, deviation, known.done)[again]
    stops = np.array([next((rung for rung in rungs if rung > reached), epochs) for reached in known.reached])
    left = np.where(again, epochs, np.maximum(stops - known.reached, 1))
    return Outlook(mean, deviation, gain, again, stops, _work(known, left, again))


def _work(known: Knowledge, left: Indices, again: Flags) -> Floats:
    """The largest share that the next training of each network takes of any of the study's limits; without limits on work its
    multiply-adds.

    By multiply-adds alone, a search that may train 24 networks trained 20 of the cheapest, which cost next to nothing.

    Args:
        left: (networks,): epochs of its next training.
        again: (networks,): whether that is one more seed of a finished network.
    """
    budget, seeds = known.study.budget, len(known.study.seeds)
    work = known.pool.gmacs * left * seeds
    shares = [work / budget.gmac_epochs] if budget.gmac_epochs else []
    if budget.epochs:
        shares.append(left * seeds / budget.epochs)
    if budget.trials:
        shares.append(np.where(known.begun & ~again, 0, seeds) / budget.trials)
    # What is paused takes nothing of a limit on trials, but its work orders it among others.
    return np.maximum.reduce(shares) + 1e-6 * work if shares else work


def _next_training(
    known: Knowledge, rungs: Sequence[int], enough: float, seeds: Sequence[int], prior: Prior | None
) -> list[Suggestion]:
    """The training that promises most for what it uses of the budget, if the budget allows it: the next segment of a network's
    training, or, in a race for which there are `seeds`, one more seed of a finished network."""
    epochs, see = rungs[-1], _outlook(known, rungs, len(seeds), prior)
    rate = see.gain / see.work
    able = (see.again | ~(known.running | known.done | known.out)) & (see.gain >= enough)
    order = sorted(map(int, np.flatnonzero(able)), key=lambda row: (-rate[row], row))

    def suggestion(row: int, until: int) -> list[Suggestion]:
        reason = (
            f"expected gain of the front {100 * see.gain[row]:.2f} points x doublings, the most for its share of the budget; "
            f"predicted {percent(see.mean[row])} ± {percent(see.deviation[row])} %{f'; {prior.said}' if prior else ''}"
        )
        predicted = (float(see.mean[row]), float(see.deviation[row]))
        if see.again[row]:
            return known.again(row, seeds[int(known.seeds[row])], f"one more seed: {reason}", predicted)
        return known.suggest(row, until, "guided", reason, predicted)

    # What is paused and likely to end on the front must stay affordable.
    started = known.begun & ~known.out
    likely = [row for row in known.front(see.mean, started) if not known.done[row] and not known.running[row]]
    for row in order:
        others = [(other, epochs) for other in likely if other != row]
        if not known.spending((row, int(see.stops[row])), *others).over(known.study):
            return suggestion(row, int(see.stops[row]))
    for row in order:
        if row in likely and not known.spending((row, epochs)).over(known.study):
            return suggestion(row, epochs)
    return []


def seed_gain(costs: Floats, mean: Floats, deviation: Floats, done: Flags) -> Floats:
    """How much it is expected to add to the front to know a finished network's accuracy exactly, by changing what is chosen.

    Where the truth passes the best of the other networks, or falls behind it, the other choice is worth the difference: the
    expected value of perfect information, over the steps of the front. It judges a finished network as `front_gain` judges a new
    one, by the deviation that its training would remove. What a single seed moves is much less, but seeds pay together: a search
    by that alone (the knowledge gradient) stopped before any second seed.

    Args:
        costs: (networks, objectives), above 0, one or two objectives.
        mean, deviation: (networks,): of the predicted accuracies, without the noise of one training.
        done: (networks,): which are finished.

    Returns:
        (networks,): 0 or more; 0 for networks that are not done.
    """
    rows = np.flatnonzero(done)
    still, below_all = (
        np.full(len(rows), 1e-9),
        -10.0,
    )  # where there is no other network, nothing can be chosen otherwise
    gain = np.zeros(len(mean))
    for place, row in enumerate(rows):
        others = np.ones(len(rows), dtype=np.bool_)
        others[place] = False
        after, before = (
            front_gain(costs[rows], mean[rows], each, others, below_all)[place] for each in (deviation[rows], still)
        )
        gain[row] = max(0.0, after - before)
    return gain


def front_gain(costs: Floats, mean: Floats, deviation: Floats, done: Flags, lowest: float | None = None) -> Floats:
    """How much each network is expected to add to the front: accuracy times doublings of cost (of each counted cost).

    The front's accuracy is a staircase over log cost, at the predicted means of the networks that are done. Only accuracy is
    uncertain, so the expected hypervolume improvement is the sum over the steps right of a network's cost of their widths times
    the expected improvement s (z Phi(z) + phi(z)), z = (mean - step) / s. The front is taken to twice the largest cost.

    Args:
        costs: (networks, objectives), above 0, one or two objectives.
        mean, deviation: (networks,): of the predicted accuracies.
        done: (networks,): whose accuracy the front already has.
        lowest: the accuracy left of the cheapest network; None is the lowest of all means.

    Returns:
        (networks,): 0 or more; for networks that are done it means nothing.
    """
    logs = np.log2(costs)
    lowest = float(mean.min()) if lowest is None else lowest
    edges, widths = [], []
    for column in logs.T:
        own = np.unique(column[done])
        bounds = np.concatenate([[-np.inf], own, [column.max() + 1]])
        edges.append(bounds[:-1])
        low, high = np.maximum(bounds[:-1], column[:, None]), bounds[1:]
        widths.append(np.maximum(high - low, 0))
    gain = np.zeros(len(mean))
    for cell in itertools.product(*(range(len(each)) for each in edges)):
        corner = np.array([each[place] for each, place in zip(edges, cell, strict=True)])
        inside = done & np.all(logs <= corner, axis=1)
        step = max(lowest, float(mean[inside].max())) if inside.any() else lowest
        width = np.prod([each[:, place] for each, place in zip(widths, cell, strict=True)], axis=0)
        gain += width * expected_gain(mean, deviation, step)
    return gain
