"""Confidence intervals for differences between two runs.

If both runs have several seeds in common, differences are paired by seed; otherwise the variances of the two runs are added.
In both cases `report/noise.py` judges the differences of a pair of runs as one family: each has the standard error of its own
seeds, but at least the average over all pairs of networks of the two runs, since three seeds of two networks say little.
A single pair is judged by the paired t test, or by Welch's test if there are no common seeds.

With a single seed the variance of training is unknown. What remains is a lower bound: the binomial noise of the validation clips,
as if the networks had been scored on different clips (A. Agresti and B. Caffo, "Simple and effective confidence intervals for
proportions", The American Statistician 54, 2000).

The 5 % of a table are divided among its differences, so that all its intervals hold together in 95 of 100 cases.

All accuracies are fractions. Standard library.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from expand.core.accuracy import two_errors
from expand.report.noise import EQUAL, FAMILY_ERROR, judge

Basis = Literal["paired", "unpaired", "clips"]
Scores = Sequence[float]  # one per seed


@dataclass(frozen=True)
class Noise:
    """The noise of a difference between two means: its standard error and degrees of freedom. `standard_error` is None if the
    seeds show no noise, because a few trainings cannot prove that there is none."""

    basis: Basis
    standard_error: float | None
    freedom: float


@dataclass(frozen=True)
class Difference:
    """The difference `first` minus `second`.

    Attributes:
        half_width: of its confidence interval; None if the noise is unknown.
        split_error: binomial standard error from the finite validation split; 0 if that is already in the interval.
    """

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
        """Half width of an interval for each of the two; these overlap exactly if the interval of the difference contains 0."""
        return None if self.half_width is None else self.half_width / 2

    @property
    def indistinguishable(self) -> bool:
        """Whether the interval of the difference contains 0."""
        return self.half_width is not None and abs(self.value) <= self.half_width + EQUAL

    @property
    def verdict(self) -> str:
        if self.half_width is None:
            return "noise unknown"
        if self.indistinguishable:
            return "indistinguishable"
        if self.noise.basis == "clips":
            return "beyond the split's noise; the noise of training is unknown"
        return (
            "beyond noise"
            if abs(self.value) >= two_errors(self.split_error, 0)
            else "beyond seed noise, within the split's"
        )


def shared_seeds(first: Sequence[int], second: Sequence[int]) -> tuple[Basis, tuple[int, ...], tuple[int, ...]]:
    """How two runs with these seeds can be compared, and the seeds of each that are used."""
    common = tuple(seed for seed in first if seed in second)
    if len(common) > 1:
        return "paired", common, common
    return ("unpaired" if min(len(first), len(second)) > 1 else "clips"), tuple(first), tuple(second)


def share(part: int, count: int) -> float:
    """The share of the family's 5 % for `part` of `count` differences (Z. Sidak, J. Am. Stat. Assoc. 62, 1967)."""
    return 1 - (1 - FAMILY_ERROR) ** (part / count)


def seed_noise(
    first: Sequence[Scores], second: Sequence[Scores], pairs: Sequence[tuple[int, int]], *, paired: bool, error: float
) -> list[tuple[Noise, float | None]]:
    """Noise and half width of differences between networks of two runs with at least two seeds each.

    Args:
        first, second: the scores of all networks of each run.
        pairs: indices in `first` and in `second` of the compared networks.
        error: the probability that any of these intervals misses the true difference.
    """
    rows = tuple(map(tuple, (*first, *second)))
    every = tuple((a, len(first) + b) for a in range(len(first)) for b in range(len(second)))
    places = tuple(a * len(second) + b for a, b in pairs)
    basis: Basis = "paired" if paired else "unpaired"
    return [
        (Noise(basis, None if found.needed is None else found.standard_error, found.freedom), found.needed)
        for found in judge(rows, every, places, error=error, paired=paired)
    ]


def clip_noise(first: float, second: float, clips: tuple[int, int]) -> Noise:
    """Noise for two networks of one seed each, scored on so many clips. One correct and one wrong answer is added to each,
    because otherwise a network that is always correct would have no noise."""
    guesses = [(top1 * n + 1) / (n + 2) for top1, n in zip((first, second), clips, strict=True)]
    squares = sum(guess * (1 - guess) / (n + 2) for guess, n in zip(guesses, clips, strict=True))
    return Noise("clips", _root(squares), math.inf)


def clip_half_width(noise: Noise, error: float) -> float | None:
    """Half width of an interval from clips alone that misses the true difference with this probability."""
    return None if noise.standard_error is None else NormalDist().inv_cdf(1 - error / 2) * noise.standard_error


def _root(square: float) -> float | None:
    return math.sqrt(square) if square > EQUAL**2 else None
