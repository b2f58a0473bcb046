"""How much two numbers of two runs differ, and by how much they could by chance alone.

Where both runs have trained several seeds in common, a difference is taken seed by seed, and its noise is the variance of such
differences over the seeds, averaged over all pairs of a network of one run and a network of the other: three seeds of two
networks alone say little. Without common seeds the two runs' own variances are added. With a single seed nothing is known of
what chance does to a training, and the least there is remains: the binomial noise of the validation clips, as if each
network had been scored on clips of its own (A. Agresti and B. Caffo, "Simple and effective confidence intervals for
proportions", The American Statistician 54, 2000).

Intervals are a studentised bootstrap: how often the largest of several differences reaches so many standard errors when there
is none, drawn with normal residuals. A few seeds cannot be drawn from themselves: 3 have 27 resamples, and intervals from
these (percentiles, normal residuals) miss the truth in 26 of 100 cases instead of 5. For a single difference it is the
paired t interval. All intervals of one family hold together in 95 of 100 cases.

All accuracies are fractions. Standard library; numpy is imported by the function that needs it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, variance
from typing import Literal

from expand.report.comparison import EQUAL, FAMILY_ERROR, honest_difference

DRAWS = 100_000
Basis = Literal["paired", "unpaired", "clips"]
Scores = Sequence[float]  # one a seed


@dataclass(frozen=True)
class Noise:
    """Of a difference between two means: its standard error and how well that is known. `standard_error` is None where the
    seeds show no noise at all, which a few trainings cannot prove to be so."""

    basis: Basis
    standard_error: float | None
    freedom: float


@dataclass(frozen=True)
class Difference:
    """`first` minus `second`. `half_width` is that of its interval, None where the noise is not known; `split_error` the binomial
    standard error of the difference from the finite validation split, 0 where it has no part."""

    first: float
    second: float
    noise: Noise
    half_width: float | None
    split_error: float = 0.0

    @property
    def value(self) -> float:
        return round(self.first - self.second, 12)

    @property
    def interval(self) -> tuple[float, float] | None:
        return None if self.half_width is None else (self.value - self.half_width, self.value + self.half_width)

    @property
    def own_half_width(self) -> float | None:
        """An interval for each of the two, so wide that the two overlap just where that of the difference contains 0."""
        return None if self.half_width is None else self.half_width / 2

    @property
    def indistinguishable(self) -> bool:
        """Whether the interval of the difference contains 0, so that those of the two overlap."""
        return self.half_width is not None and abs(self.value) <= self.half_width + EQUAL

    @property
    def verdict(self) -> str:
        if self.half_width is None:
            return "noise unknown"
        if self.indistinguishable:
            return "indistinguishable"
        if self.noise.basis == "clips":
            return "beyond the split's noise; that of training is unknown"
        return "beyond noise" if abs(self.value) >= 2 * self.split_error else "beyond seed noise, within the split's"


def shared_seeds(first: Sequence[int], second: Sequence[int]) -> tuple[Basis, tuple[int, ...], tuple[int, ...]]:
    """How two runs with these seeds can be compared, and which of the seeds of each count."""
    common = tuple(seed for seed in first if seed in second)
    if len(common) > 1:
        return "paired", common, common
    return ("unpaired" if min(len(first), len(second)) > 1 else "clips"), tuple(first), tuple(second)


def paired_noise(first: Sequence[Scores], second: Sequence[Scores]) -> Noise:
    """For two runs' networks, scored with the same seeds. Degrees of freedom are those of the average over all pairs of n
    networks with n others (Satterthwaite: 2 n^2 / (n + 1) for each seed but one), n being the smaller number of networks. Where
    a run offers more, its best one has been picked by chance, too: fewer degrees of freedom keep false alarms within 8 %."""
    columns = (
        [fmean(scores) for scores in zip(*first, strict=True)],
        [fmean(scores) for scores in zip(*second, strict=True)],
    )
    # averaged over all pairs, var(a - b) = var(a) + var(b) - 2 cov(a, b), and covariances average to that of the means
    both = 2 * _covariance(*columns)
    spread = fmean(map(variance, first)) + fmean(map(variance, second)) - both
    seeds, networks = len(columns[0]), min(len(first), len(second))
    return Noise("paired", _root(spread / seeds), (seeds - 1) * 2 * networks**2 / (networks + 1))


def unpaired_noise(first: Sequence[Scores], second: Sequence[Scores]) -> Noise:
    """For two runs with seeds of their own, each at least two; degrees of freedom by Welch and Satterthwaite, with no
    more networks than the smaller run has, as above."""
    networks = min(len(first), len(second))
    parts = [(fmean(map(variance, run)) / len(run[0]), networks * (len(run[0]) - 1)) for run in (first, second)]
    total = sum(part for part, _ in parts)
    share = sum(part**2 / freedom for part, freedom in parts)
    freedom = math.floor(10 * total**2 / share) / 10 if share else 1.0
    return Noise("unpaired", _root(total), freedom)


def noise_within(networks: Sequence[Scores]) -> Noise:
    """For two networks of one run: the block design of all its networks (`expand/report/comparison.py`)."""
    deviation, freedom, _ = honest_difference(networks)
    return Noise("paired", _root(2 * deviation**2 / len(networks[0])), freedom)


def clip_noise(first: float, second: float, clips: tuple[int, int]) -> Noise:
    """For two networks of one seed each, scored on so many clips: one right and one wrong answer is added to each, as else
    a network that is always right would have no noise."""
    guesses = [(top1 * n + 1) / (n + 2) for top1, n in zip((first, second), clips, strict=True)]
    squares = sum(guess * (1 - guess) / (n + 2) for guess, n in zip(guesses, clips, strict=True))
    return Noise("clips", _root(squares), math.inf)


@lru_cache(maxsize=1024)
def critical(count: int, freedom: float) -> float:
    """How many standard errors the largest of `count` differences reaches in 5 of 100 cases where there is none."""
    import numpy

    random = numpy.random.default_rng(0)
    largest = numpy.zeros(DRAWS)
    for _ in range(count):
        numpy.maximum(largest, numpy.abs(random.standard_normal(DRAWS)), out=largest)
    if math.isfinite(freedom):
        largest /= numpy.sqrt(random.chisquare(freedom, DRAWS) / freedom)
    return float(numpy.quantile(largest, 1 - FAMILY_ERROR))


def half_width(noise: Noise, count: int) -> float | None:
    """Of an interval that holds together with `count` - 1 others."""
    return None if noise.standard_error is None else critical(count, noise.freedom) * noise.standard_error


def _covariance(first: Scores, second: Scores) -> float:
    middle, other = fmean(first), fmean(second)
    products = [(a - middle) * (b - other) for a, b in zip(first, second, strict=True)]
    return sum(products) / (len(products) - 1)


def _root(square: float) -> float | None:
    return math.sqrt(square) if square > EQUAL**2 else None
