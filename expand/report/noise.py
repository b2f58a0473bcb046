"""Decides which differences between means over a few seeds are beyond noise, if networks differ in their spread over seeds.

Some networks train alike with every seed, others learn late with some: one table can hold standard deviations of 1 and of 15
points. A common variance (Tukey's test) then raises a false alarm in 10 to 28 of 100 tables. A variance per pair (Games and
Howell) raises more still: with three seeds and many pairs, some pairs agree almost exactly by chance. Therefore:

- The standard error of a difference is its own, sqrt(s^2 / S) of the S paired differences, but at least the average pair's.
- The critical value, how many standard errors the largest difference reaches by chance, comes from a studentised bootstrap with
  seeds as blocks. Residuals are normal with each network's estimated spread, because three seeds allow only 27 resamples.
  This keeps the family-wise error at 5 %.
- The paired t test of the pair must find the difference too; it alone is exact for any spreads.

With two networks this is the paired t test. `tests/report/test_noise.py` measures false alarms and power. With equal spreads
the error is below 5 %, since spreads must be estimated from so few seeds. No test of means is exact for all spreads
(Yu. V. Linnik, "Statistical Problems with Nuisance Parameters", 1968, on two means without pairing).

All scores are fractions. numpy and scipy are imported by the functions that need them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[Any]

FAMILY_ERROR = 0.05  # the probability of one false alarm or more in a family of differences between equal networks
EQUAL = 1e-9  # accuracies are multiples of 1 / clips: smaller differences are rounding
MOST_DRAWS, LEAST_DRAWS = 10_000, 200
WORK = 4_000_000  # differences sampled in total: the more pairs, the fewer draws
BLOCK = 1_000_000  # numbers in memory at once

Rows = tuple[tuple[float, ...], ...]  # one row per network, one score per seed
Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Judged:
    """A difference between the means of two rows.

    Attributes:
        freedom: degrees of freedom of its own variance.
        needed: how large it must be to be beyond noise; None if the seeds show no noise.
        p: adjusted for the family; None if the seeds show no noise.
    """

    standard_error: float
    freedom: float
    needed: float | None
    p: float | None


def all_pairs(count: int) -> Pairs:
    """All pairs of `count` rows."""
    return tuple(combinations(range(count), 2))


@lru_cache(maxsize=64)  # a report needs the same result several times
def judge(
    rows: Rows, pairs: Pairs, judged: tuple[int, ...] | None = None, *, error: float = FAMILY_ERROR, paired: bool = True
) -> tuple[Judged, ...]:
    """Judges differences between rows as one family whose probability of a false alarm is `error`.

    Args:
        rows: scores, at least two per row; paired rows share their seeds, in the same order.
        pairs: indices of the two rows of each difference. Their average noise is the lower bound for all.
        judged: indices in `pairs` of the differences that are judged; by default all.
        paired: whether the rows share their seeds.

    Returns:
        One result per judged difference.
    """
    import numpy
    from scipy.special import stdtr, stdtrit

    places = list(range(len(pairs)) if judged is None else judged)
    gaps, squares, freedoms = _differences([numpy.array([row]) for row in rows], pairs, paired)
    average = float(squares.mean())
    if average < EQUAL**2:
        return tuple(Judged(0.0, float(freedoms[0, place]), None, None) for place in places)
    own = numpy.sqrt(squares[0, places])
    errors = numpy.sqrt(numpy.maximum(squares[0, places], average))
    freedom = freedoms[0, places]
    alone = stdtrit(freedom, 1 - error / 2) * own
    p = 2 * stdtr(freedom, -gaps[0, places] / numpy.maximum(own, EQUAL))
    needed = alone
    if len(pairs) > 1:
        largest = _largest(rows, pairs, places, paired)
        # at most a share `error` of the draws is strictly greater
        critical = largest[len(largest) - math.floor(error * len(largest)) - 1]
        needed = numpy.maximum(alone, critical * errors)
        below = numpy.searchsorted(largest, gaps[0, places] / errors - EQUAL)
        p = numpy.maximum(p, 1 - below / len(largest))
    return tuple(map(Judged, errors.tolist(), freedom.tolist(), needed.tolist(), p.tolist()))


def _largest(rows: Rows, pairs: Pairs, places: Sequence[int], paired: bool) -> Floats:
    """Samples, in ascending order, of the largest judged difference in standard errors, if all rows had equal means."""
    import numpy

    spreads, random = _spreads(rows, paired), numpy.random.default_rng(0)
    draws = min(max(WORK // len(pairs), LEAST_DRAWS), MOST_DRAWS)
    block, found = max(BLOCK // (len(pairs) * len(rows[0])), 1), []
    for begin in range(0, draws, block):
        size = min(block, draws - begin)
        drawn = [spread * random.standard_normal((size, len(row))) for spread, row in zip(spreads, rows, strict=True)]
        gaps, squares, _ = _differences(drawn, pairs, paired)
        least = numpy.maximum(squares.mean(1, keepdims=True), squares[:, places])
        found.append((gaps[:, places] / numpy.sqrt(numpy.maximum(least, EQUAL**2))).max(1))
    return numpy.sort(numpy.concatenate(found))


def _differences(rows: Sequence[Floats], pairs: Pairs, paired: bool) -> tuple[Floats, Floats, Floats]:
    """Absolute differences of means, squared standard errors, and degrees of freedom (Welch and Satterthwaite if not paired),
    each (draws, pairs). Each row is (draws, seeds)."""
    import numpy

    first, second = [list(places) for places in zip(*pairs, strict=True)]
    if paired:
        scores = numpy.stack(rows, 1)
        apart = scores[:, first] - scores[:, second]
        means, seeds = apart.mean(2), apart.shape[2]
        squares = ((apart - means[:, :, None]) ** 2).sum(2) / (seeds - 1) / seeds
        return numpy.abs(means), squares, numpy.full(means.shape, float(seeds - 1))
    means = numpy.stack([row.mean(1) for row in rows], 1)
    parts = numpy.stack([row.var(1, ddof=1) / row.shape[1] for row in rows], 1)
    one, two = parts[:, first], parts[:, second]
    spare = numpy.array([row.shape[1] - 1 for row in rows])
    share = numpy.maximum(one**2 / spare[first] + two**2 / spare[second], EQUAL**4)
    freedom = numpy.clip((one + two) ** 2 / share, 1.0, None)
    return numpy.abs(means[:, first] - means[:, second]), one + two, freedom


def _spreads(rows: Rows, paired: bool) -> Floats:
    """The standard deviation of each row, if paired without the effect that a seed has on all rows.

    Source: F. E. Grubbs, "On estimating precision of measuring instruments and product variability", J. Am. Stat. Assoc. 43,
    1948.
    """
    import numpy

    if not paired:
        return numpy.array([numpy.std(row, ddof=1) for row in rows])
    scores = numpy.array(rows)
    count, seeds = scores.shape
    rest = scores - scores.mean(1, keepdims=True)
    rest -= rest.mean(0)
    own = (rest**2).sum(1) / (seeds - 1)  # expected: v_i (1 - 2 / n) + the sum of all v / n^2
    total = own.sum() * count / (count - 1)
    return numpy.sqrt(numpy.maximum((own - total / count**2) * count / (count - 2), 0))
