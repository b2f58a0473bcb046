"""Which candidates of a step are worth training: a model of all trainings so far says which can hardly become the best.

A Gaussian process over the axes and the cost (`learning_curves.py`, at the end of the trainings only) predicts each candidate
with its uncertainty. The most promising one is trained first, then whichever is expected to gain most over the leader, until
none is expected to gain enough. A pure function of the trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from expand.core.accuracy import percent
from expand.core.space import Architecture
from expand.core.study import CountMacs
from expand.core.trial import Suggestion, Trial, TrialState
from expand.strategies.candidates import coordinates
from expand.strategies.learning_curves import Floats, Points, Results, expected_gain, fit

FEWEST = 6  # networks with a result, before anything is left out


@dataclass(frozen=True)
class Screened:
    """What a screening wants.

    Attributes:
        train: candidates to train now, and those that were begun.
        leave: candidates that are not worth it, with the reason; they are recorded, not trained.
    """

    train: tuple[Suggestion, ...] = ()
    leave: tuple[Suggestion, ...] = ()


def screened(candidates: Sequence[Suggestion], trials: Sequence[Trial], macs: CountMacs, enough: float) -> Screened:
    """The next candidate of a step to train; all that are left out once none is worth it; neither while that may change.

    Args:
        candidates: of the step, in their order, one suggestion each.
        enough: the gain of accuracy over the leader that a training must promise.
    """
    begun = {trial.architecture for trial in trials if trial.suggestion.until != 0}
    left_out = {trial.architecture for trial in trials if trial.suggestion.until == 0}
    started = tuple(candidate for candidate in candidates if candidate.architecture in begun)
    fresh = [candidate for candidate in candidates if candidate.architecture not in begun | left_out]
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE and trial.metrics]
    if not fresh or len({trial.architecture for trial in complete}) < FEWEST:
        return Screened((*started, *fresh))
    training = {trial.architecture for trial in trials if trial.state is TrialState.RUNNING}
    mean, deviation = _predicted(candidates, complete, training, macs)
    able = {trial.architecture for trial in complete} | training
    trained = [row for row, candidate in enumerate(candidates) if candidate.architecture in able]
    rows = [row for row, candidate in enumerate(candidates) if candidate in fresh]

    def asked(row: int, why: str, until: int | None = None) -> Suggestion:
        told = f"predicted {percent(mean[row])} ± {percent(deviation[row])} %, {why}: {candidates[row].reason}"
        predicted = (float(mean[row]), float(deviation[row]))
        return replace(candidates[row], reason=told, seen=len(complete), predicted=predicted, until=until)

    if not trained:
        row = max(rows, key=lambda each: (mean[each] + deviation[each], -each))
        return Screened((*started, asked(row, "the most promising of the step")))
    gain = expected_gain(mean, deviation, float(max(mean[trained])))
    row = max(rows, key=lambda each: (gain[each], -each))
    if gain[row] > enough:
        return Screened((*started, asked(row, f"expected to gain {100 * gain[row]:.2f} points over the leader")))
    if any(candidates[each].architecture in training for each in trained):
        return Screened(started)  # a leader that ends worse than predicted would reopen the question
    why = "expected to gain only {:.2f} points over the leader, not trained"
    return Screened(started, tuple(asked(each, why.format(100 * gain[each]), until=0) for each in rows))


def _predicted(
    candidates: Sequence[Suggestion], complete: Sequence[Trial], training: set[Architecture], macs: CountMacs
) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each candidate's accuracy, without the noise of one training."""
    networks = list(dict.fromkeys([*(each.architecture for each in candidates), *(t.architecture for t in complete)]))
    rows = {network: row for row, network in enumerate(networks)}
    counted = {trial.architecture: trial.cost.macs for trial in complete}
    costs = np.log2([counted.get(network) or macs(network) for network in networks])
    axes = coordinates(networks)
    owners = np.append(axes.axis, axes.axis.max() + 1).astype(np.intp)
    points = Points(np.concatenate([axes.values, costs[:, None]], axis=1), owners)
    ends = np.array([rows[trial.architecture] for trial in complete])
    top1 = np.array([trial.metrics.top1 for trial in complete if trial.metrics])
    model = fit(points, Results(ends, np.ones(len(ends)), top1))
    running = np.array(sorted(rows[network] for network in training if network in rows), dtype=np.intp)
    others = Results(running, np.ones(len(running)), np.zeros(len(running)))
    return model.mean_and_deviation(np.arange(len(candidates)), others)
