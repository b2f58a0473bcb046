"""Races: which of several candidates is best, how sure that is, and where one more training would tell most.

Candidates are trained with one seed each; more seeds go only to those that may still be the best. Pure functions of the
accuracies; standard library only. The model: a candidate's true accuracy is normal around the mean of all candidates, a training
with one seed is normal around the truth, and the deviation between seeds is the same for all candidates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, mean, variance

PRIOR_NOISE, PRIOR_WEIGHT = (
    0.05,
    4.0,
)  # the deviation between seeds before any was seen, and how many degrees of freedom it weighs
LEAST_SPREAD = 0.01  # of the candidates' true accuracies; with none the order of the means would be lost


@dataclass(frozen=True)
class Standing:
    """What is known of a candidate in a race.

    Attributes:
        top1: its expected true accuracy, drawn towards the mean of all candidates.
        deviation: the standard deviation of that, from the seeds.
        clip_error: the standard error from the finite number of validation clips, which more seeds do not lower.
        seeds: trainings so far.
    """

    top1: float
    deviation: float
    clip_error: float
    seeds: int


def seed_noise(groups: Sequence[Sequence[float]]) -> float:
    """The pooled standard deviation between seeds of the same network.

    Args:
        groups: accuracies of each network, one per seed; networks with a single seed say nothing.
    """
    several = [group for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in several)
    squares = sum((len(group) - 1) * variance(group) for group in several)
    return math.sqrt((PRIOR_WEIGHT * PRIOR_NOISE**2 + squares) / (PRIOR_WEIGHT + freedom))


def standings(groups: Sequence[Sequence[float]], noise: float, clip_errors: Sequence[float]) -> list[Standing]:
    """A standing for each candidate, by shrinkage (James and Stein, 1961; empirical Bayes).

    Args:
        groups: accuracies of each candidate, at least one each.
        noise: `seed_noise`.
        clip_errors: of each candidate.
    """
    means = [mean(group) for group in groups]
    centre = mean(means)
    expected = mean(noise**2 / len(group) for group in groups)
    spread = max(LEAST_SPREAD**2, (variance(means) if len(means) > 1 else 0.0) - expected)
    found = []
    for group, own, clip_error in zip(groups, means, clip_errors, strict=True):
        error = noise**2 / len(group)
        weight = spread / (spread + error)
        found.append(Standing(centre + weight * (own - centre), math.sqrt(weight * error), clip_error, len(group)))
    return found


def leader(race: Sequence[Standing]) -> int:
    """The candidate with the largest expected accuracy, the first of equals."""
    return max(range(len(race)), key=lambda index: (race[index].top1, -index))


def regret_of_not_choosing(race: Sequence[Standing], index: int) -> float:
    """How much accuracy is expected to be lost by choosing the leader where this candidate is better."""
    first = race[leader(race)]
    deviation = math.hypot(first.deviation, race[index].deviation)
    z = (race[index].top1 - first.top1) / deviation
    normal = NormalDist()
    return deviation * (normal.pdf(z) + z * normal.cdf(z))


def next_seeds(race: Sequence[Standing], *, most: int, enough: float) -> list[int]:
    """The candidates to train with one more seed; none once the race is over.

    A rival is open while not choosing it is expected to lose more than `enough` accuracy. The open rivals and the leader are
    trained once more, those with the fewest seeds first.

    Args:
        most: seeds of one candidate.
    """
    first = leader(race)
    rivals = [index for index in range(len(race)) if index != first and regret_of_not_choosing(race, index) > enough]
    able = [index for index in (first, *rivals) if race[index].seeds < most]
    if not rivals or not able or (all(race[index].seeds >= most for index in rivals) and race[first].seeds >= most):
        return []
    fewest = min(race[index].seeds for index in able)
    return sorted(index for index in able if race[index].seeds == fewest)


POINTS = 400


def probability_best(race: Sequence[Standing], index: int) -> float:
    """The probability that this candidate is truly the best, with the errors of seeds and clips."""
    normals = [NormalDist(each.top1, max(math.hypot(each.deviation, each.clip_error), 1e-6)) for each in race]
    own = normals[index]
    step = 10 * own.stdev / POINTS
    total = 0.0
    for number in range(POINTS):
        place = own.mean - 5 * own.stdev + (number + 0.5) * step
        others = math.prod(other.cdf(place) for at, other in enumerate(normals) if at != index)
        total += own.pdf(place) * others * step
    return min(total, 1.0)
