"""How well scores of untrained networks rank what the networks reach once trained, and whether one may steer a search.

Measured by Kendall's tau-b: of all pairs of networks that differ in both, the share that a score orders as the accuracies do,
minus the share that it orders the other way round. Accuracies are means over seeds. Intervals are bootstraps over networks: each
draw takes as many networks as there are, with replacement, and all scores of a network together, so that the difference between
two scores is paired.

Larger networks are mostly better, so most scores do well by growing with the cost. Two figures look behind that: tau over the
pairs whose multiply-adds differ by at most `NEAR`, and the partial tau given multiply-adds (M. G. Kendall, "Partial rank
correlation", Biometrika 32, 1942).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from expand.core.errors import UsageError
from expand.core.space import Architecture, SearchSpace
from expand.core.trial import TrialState
from expand.counting.cost import MacsCounter
from expand.replay.bench import DRAWS
from expand.replay.table import Table
from expand.storage.run_directory import open_for_reading
from expand.storage.stored_study import study_of
from expand.strategies.inherited import from_scratch

Floats = NDArray[np.float64]
NEAR = math.sqrt(2)  # ratio of multiply-adds up to which two networks cost about the same
FEWEST = 8  # networks; fewer give no interval worth printing
Verdict = Literal["may steer", "not shown to beat macs", "worse than macs", "what to beat"]


@dataclass(frozen=True)
class Trained:
    """Networks with the accuracies they reached.

    Attributes:
        top1: (networks,): mean over seeds, from 0 to 1.
        macs: (networks,): multiply-adds of one clip.
        seeds: the smallest and the largest number of trainings of a network.
        score: a network's score by the score's name.
    """

    name: str
    networks: tuple[Architecture, ...]
    top1: Floats
    macs: Floats
    seeds: tuple[int, int]
    score: Callable[[str, Architecture], float]


@dataclass(frozen=True)
class Measured:
    """A figure of all networks with its 95 % interval over networks."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Rank:
    """What one score is worth.

    Attributes:
        tau: with top-1, over all pairs of networks.
        gain: `tau` minus that of multiply-adds.
        near: tau over the pairs that cost about the same.
        partial: tau given multiply-adds.
        verdict: it may steer a search if the whole interval of `gain` is above 0.
    """

    score: str
    tau: Measured
    gain: Measured
    near: Measured
    partial: float
    verdict: Verdict


def of_table(table: Table) -> Trained:
    """All networks of a table."""
    macs = np.array([cost.macs for cost in table.costs], dtype=float)
    return Trained(table.name, table.networks, table.truth, macs, (table.seeds, table.seeds), table.score)


def of_run(folder: Path, *, trust: bool = False) -> Trained:
    """The networks of a run that were trained to their end, from random weights or the study's.

    Raises:
        UsageError: there is no run, or building its networks would run code that is not trusted.
        ExpandError: the code of its networks has changed.
    """
    record = open_for_reading(folder)
    complete = [
        trial for trial in from_scratch(record.trials()) if trial.state is TrialState.COMPLETE and trial.metrics
    ]
    study, classes = study_of(record, complete, trust=trust), len(record.facts.data.classes)
    reached: dict[Architecture, list[float]] = {}
    for trial in complete:
        assert trial.metrics is not None
        reached.setdefault(trial.architecture, []).append(trial.metrics.top1)
    space: SearchSpace = study.space
    counter = MacsCounter(space, classes)
    macs = np.array([counter(network) for network in reached], dtype=float)
    top1 = np.array([fmean(values) for values in reached.values()])
    seeds = [len(values) for values in reached.values()] or [0]
    return Trained(record.facts.study.name, tuple(reached), top1, macs, (min(seeds), max(seeds)), counter.score)


def require_enough(trained: Trained) -> None:
    """Raises `UsageError` for fewer than eight networks."""
    count = len(trained.networks)
    if count < FEWEST:
        some = f"{count} network{'s' * (count != 1)} with a finished training"
        raise UsageError(f"{trained.name}: {some}; ranks need at least {FEWEST}")


def ranks(trained: Trained, scores: Mapping[str, Floats], *, draws: int = DRAWS) -> list[Rank]:
    """A rank per score, in their order.

    Args:
        scores: (networks,) of each name; "macs" among them or not.

    Raises:
        UsageError: fewer than eight networks.
    """
    require_enough(trained)
    count = len(trained.networks)
    every = {"macs": trained.macs, **scores}
    truth = _order(trained.top1)
    orders = {name: _order(values) for name, values in every.items()}
    logs = np.log(trained.macs)
    near = (np.abs(logs[:, None] - logs[None, :]) <= math.log(NEAR) * (1 + 1e-9)).astype(float)
    once, drawn = np.ones((1, count)), _draws(count, draws)
    whole = {name: _tau(order, truth, drawn) for name, order in orders.items()}
    alike = float(_tau(orders["macs"], truth, once)[0])
    found = []
    for name in scores:
        order = orders[name]
        tau = float(_tau(order, truth, once)[0])
        gain = _interval(tau - alike, whole[name] - whole["macs"])
        close = _interval(float(_tau(order * near, truth * near, once)[0]), _tau(order * near, truth * near, drawn))
        partial = 0.0 if name == "macs" else _partial(tau, alike, float(_tau(order, orders["macs"], once)[0]))
        found.append(Rank(name, _interval(tau, whole[name]), gain, close, partial, verdict(name, gain)))
    return found


def verdict(name: str, gain: Measured) -> Verdict:
    """What the interval of a score's gain over multiply-adds allows."""
    if name == "macs":
        return "what to beat"
    if gain.low > 0:
        return "may steer"
    return "worse than macs" if gain.high < 0 else "not shown to beat macs"


def _order(values: Floats) -> Floats:
    """(networks, networks): the sign of each difference."""
    return np.sign(values[:, None] - values[None, :])


def _draws(count: int, draws: int) -> Floats:
    """(draws, networks): how often each network is in each draw."""
    generator = np.random.default_rng(0)
    return generator.multinomial(count, np.full(count, 1 / count), size=draws).astype(float)


def _tau(one: Floats, other: Floats, times: Floats) -> Floats:
    """Kendall's tau-b of two orders in each draw; 0 where one of them tells no two networks apart.

    Args:
        one, other: (networks, networks): signs of differences.
        times: (draws, networks): how often each network counts.
    """

    def pairs(signs: Floats) -> Floats:
        return np.asarray(np.einsum("di,di->d", times @ signs, times))

    untied = np.sqrt(pairs(one * one) * pairs(other * other))
    return np.asarray(np.divide(pairs(one * other), untied, out=np.zeros(len(times)), where=untied > 0))


def _partial(score: float, macs: float, both: float) -> float:
    """Kendall's partial tau of score and accuracy given multiply-adds; 0 where these leave nothing to explain."""
    left = (1 - macs**2) * (1 - both**2)
    return (score - macs * both) / math.sqrt(left) if left > 1e-12 else 0.0


def _interval(value: float, drawn: Floats) -> Measured:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Measured(value, float(low), float(high))
