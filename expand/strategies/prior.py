"""A score of untrained networks as a prior: what a search's model sees of it, and when.

A score steers only where it is shown to be worth it: it must rank the networks that the run itself has finished better than plain
multiply-adds do, by Kendall's tau. Until then, and whenever that changes, the model is the one without it. A pure function of the
trials.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau

from expand.core.study import Costs
from expand.strategies.knowledge import Knowledge
from expand.strategies.learning_curves import Floats, Points

PRIORS = ("entropy", "params")  # scores that cost a millisecond: a pool has thousands of networks
FEWEST = 8  # finished networks, before a score is judged


@dataclass(frozen=True)
class Prior:
    """What was decided about a score: the points that the model learns from, and the decision in words."""

    points: Points
    said: str


def judged(name: str, known: Knowledge, costs: Costs) -> Prior:
    """Whether a score steers now.

    Args:
        name: of `PRIORS`.
        costs: computes the score.
    """
    pool = known.pool
    done = np.flatnonzero(known.done)
    if len(done) < FEWEST:
        return Prior(pool.points, f"prior {name} not used yet: {len(done)} of {FEWEST} networks are finished")
    top1 = known.top1[done]
    own = _tau(np.array([costs.score(name, pool.networks[row]) for row in done]), top1)
    macs = _tau(pool.gmacs[done], top1)
    ranks = f"it ranks {len(done)} finished networks with tau {own:.2f}, multiply-adds with {macs:.2f}"
    if own <= macs:
        return Prior(pool.points, f"prior {name} not used: {ranks}")
    scores = np.array([costs.score(name, network) for network in pool.networks])
    return Prior(with_score(pool.points, scores, pool.gmacs), f"prior {name} used: {ranks}")


def with_score(points: Points, scores: Floats, gmacs: Floats) -> Points:
    """The points with the score as one more axis, spread like the doublings of the cost, so that the model's lengths mean
    for it what they mean for the others.

    Args:
        points: of all networks of a pool.
        scores, gmacs: (networks,).
    """
    spread = float(scores.std())
    column = (scores - scores.mean()) / spread * float(np.log2(gmacs).std()) if spread > 0 else np.zeros(len(scores))
    axis = np.append(points.axis, points.axis.max() + 1).astype(np.intp)
    return Points(np.concatenate([points.values, column[:, None]], axis=1), axis)


def _tau(scores: Floats, top1: Floats) -> float:
    """Kendall's tau-b; 0 where one of the two tells no two networks apart."""
    found = float(kendalltau(scores, top1).statistic)
    return 0.0 if np.isnan(found) else found
