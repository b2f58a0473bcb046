"""Searching a ladder: networks in the order of one axis, along which the cost is monotone. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def first_that(ladder: Sequence[T], passes: Callable[[T], bool]) -> int:
    """Index of the first point that passes (`len(ladder)` if none does), on a ladder along which the cost is monotone.

    It tries strides that double from the near end, then bisects, because networks at the far end are huge and slow to count.
    """
    low, high, stride = 0, 0, 1
    while high < len(ladder) and not passes(ladder[high]):
        low, high, stride = high + 1, high + stride, 2 * stride
    high = min(high, len(ladder))
    while low < high:
        middle = (low + high) // 2
        if passes(ladder[middle]):
            high = middle
        else:
            low = middle + 1
    return low
