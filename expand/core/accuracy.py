"""How an accuracy is written, and how small a difference so many clips can show. Standard library only.

Accuracies are fractions from 0 to 1 everywhere; what a person reads is in percent, and differences and errors in points
(hundredths), each with one decimal. `report/assets/charts.js` rounds the same way for the page.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    value: float
    standard_error: float


@dataclass(frozen=True)
class ClassRow:
    """One class: of `videos` videos `right` are answered with it; `low` and `high` are Wilson's 95 % interval. Without a
    video there is no accuracy."""

    name: str
    videos: int
    right: int
    accuracy: float | None
    low: float
    high: float


def percent(fraction: float, *, signed: bool = False) -> str:
    """ "76.3" of 0.7625: one decimal, half away from zero. The fraction counts with six decimals, as the record keeps it, so that
    122 of 160 clips and a mean over seeds of 0.76249999 are written alike, whatever binary fractions make of them. Up to 1,000
    clips that is the rounding of the exact ratio; above, ratios within 0.0000005 of a half count as one."""
    tenths = (math.floor(abs(fraction) * 1e6 + 0.5) + 500) // 1000
    sign = "-" if fraction < 0 and tenths else "+" if signed else ""
    return f"{sign}{tenths // 10}.{tenths % 10}"


def with_error(fraction: float, error: float | None) -> str:
    """ "76.3 ± 3.4", or without an error "76.3"."""
    return percent(fraction) + ("" if error is None or not math.isfinite(error) else f" ± {percent(error)}")


def in_percent(fraction: float, error: float | None = None) -> str:
    """In running text: "76.3 % ± 3.4"."""
    return with_error(fraction, error).replace(" ±", " % ±") if error is not None else f"{percent(fraction)} %"


def two_errors(first: float, second: float) -> float:
    """Two standard errors of the difference of two independent numbers with these errors: 2 sqrt(a^2 + b^2). Equal numbers
    differ by more in 4.6 of 100 cases."""
    return 2 * math.hypot(first, second)


def resolution(clips: int, top1: float = 0.5) -> float:
    """The smallest difference in top-1 of two networks that so many clips can show: two binomial standard errors of the
    difference, 2 sqrt(2 p (1 - p) / N), at about 95 %. p = 50 % is the worst case. It is for answers that are right or wrong
    independently of each other (an unpaired comparison); networks that fail on the same clips differ by less than this by
    chance, so that it errs on the safe side. More seeds do not make it smaller: all are scored on the same clips."""
    error = math.sqrt(top1 * (1 - top1) / max(clips, 1))
    return two_errors(error, error)


def resolution_text(clips: int) -> str:
    """The same as a sentence without its full stop."""
    return (
        f"with {clips:,} validation clips, networks that differ by less than {percent(resolution(clips))} points cannot be told "
        f"apart ({percent(resolution(clips, 0.9))} where both are right on 90 %): two binomial standard errors of an unpaired "
        "difference, about 95 %"
    )
