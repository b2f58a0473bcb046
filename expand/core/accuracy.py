"""How an accuracy is written, and the smallest difference that N clips can show. Standard library only.

In code, accuracies are fractions from 0 to 1. Output shows percent, and differences and errors in percentage points, with
one decimal. `report/assets/charts.js` rounds the same way for the page.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """A fraction from 0 to 1 and its standard error."""

    value: float
    standard_error: float


@dataclass(frozen=True)
class ClassRow:
    """The accuracy of one class: `right` of its `videos` videos are correct; `low` and `high` are Wilson's 95 % interval.
    Without videos `accuracy` is None."""

    name: str
    videos: int
    right: int
    accuracy: float | None
    low: float
    high: float


def percent(fraction: float, *, signed: bool = False) -> str:
    """Formats 0.7625 as "76.3": one decimal, half away from zero.

    The fraction is first rounded to six decimals, as in the record, so that 122 of 160 clips and a mean over seeds of
    0.76249999 give the same text. Up to 1,000 clips this equals rounding the exact ratio.

    Examples:
        >>> percent(122 / 160), percent(0.031, signed=True)
        ('76.3', '+3.1')
    """
    tenths = (math.floor(abs(fraction) * 1e6 + 0.5) + 500) // 1000
    sign = "-" if fraction < 0 and tenths else "+" if signed else ""
    return f"{sign}{tenths // 10}.{tenths % 10}"


def with_error(fraction: float, error: float | None) -> str:
    """Formats "76.3 ± 3.4", or "76.3" without an error."""
    return percent(fraction) + ("" if error is None or not math.isfinite(error) else f" ± {percent(error)}")


def in_percent(fraction: float, error: float | None = None) -> str:
    """Formats "76.3 % ± 3.4", for sentences."""
    return with_error(fraction, error).replace(" ±", " % ±") if error is not None else f"{percent(fraction)} %"


def binomial_tail(right: int, clips: int, rate: float) -> float:
    """The probability that at least `right` of `clips` are right if each is with probability `rate`.

    Examples:
        >>> round(binomial_tail(9, 12, 1 / 3), 4), binomial_tail(0, 12, 1 / 3)
        (0.0039, 1.0)
    """
    if right <= 0 or rate >= 1:
        return 1.0
    odds = math.log(rate) - math.log1p(-rate)
    start = math.lgamma(clips + 1) + clips * math.log1p(-rate)
    logs = (start - math.lgamma(k + 1) - math.lgamma(clips - k + 1) + k * odds for k in range(right, clips + 1))
    return min(math.fsum(map(math.exp, logs)), 1.0)


def two_errors(first: float, second: float) -> float:
    """Two standard errors of the difference of two independent numbers: 2 sqrt(a^2 + b^2).

    Two equal numbers differ by more in 4.6 of 100 cases.
    """
    return 2 * math.hypot(first, second)


def resolution(clips: int, top1: float = 0.5) -> float:
    """The smallest difference in top-1 between two networks that `clips` clips can show, at about 95 % confidence.

    It is two binomial standard errors of the difference, 2 sqrt(2 p (1 - p) / N); p = 0.5 is the worst case. The comparison is
    unpaired; networks that fail on the same clips differ by less by chance, so the value is conservative. More seeds do not
    make it smaller, because all are scored on the same clips.
    """
    error = math.sqrt(top1 * (1 - top1) / max(clips, 1))
    return two_errors(error, error)


def resolution_text(clips: int) -> str:
    """`resolution` as a sentence without its full stop."""
    return (
        f"with {clips:,} validation clips, networks that differ by less than {percent(resolution(clips))} points cannot be "
        f"distinguished ({percent(resolution(clips, 0.9))} if both have 90 % top-1): two binomial standard errors of an "
        "unpaired difference, about 95 % confidence"
    )
