"""Pareto dominance, front and hypervolume: pure functions of plain numbers. Standard library only.

A point has one number per objective. `directions` says which to maximize and which to minimize; `_costs` converts all
points to minimization, and everything after it minimizes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

Direction = Literal["maximize", "minimize"]
Point = tuple[float, ...]


def dominates(a: Point, b: Point, directions: Sequence[Direction]) -> bool:
    """Whether `a` is at least as good as `b` in every objective and better in one.

    Raises:
        ValueError: a number is not finite, the points have different lengths, or a direction is unknown.
    """
    first, second = _costs((a, b), directions)
    return _dominates(first, second)


def pareto_front(points: Sequence[Point], directions: Sequence[Direction]) -> list[int]:
    """Indices of the points that no other point dominates, in the order given. Equal points are all kept.

    Examples:
        >>> pareto_front([(1.0, 0.5), (2.0, 0.7), (3.0, 0.6)], ("minimize", "maximize"))  # (cost, accuracy)
        [0, 1]

    Raises:
        ValueError: as `dominates`.
    """
    costs = _costs(points, directions)
    if len(directions) == 2:
        return _front_of_two(costs)
    return [index for index, cost in enumerate(costs) if not any(_dominates(other, cost) for other in costs)]


def hypervolume(points: Sequence[Point], directions: Sequence[Direction], reference: Point) -> float:
    """The area that the points dominate, bounded by `reference`, for two objectives.

    Source: Zitzler and Thiele, 1998. Points that are not better than the reference in both objectives add nothing. The unit is
    the product of the objectives' units.

    Raises:
        ValueError: other than two objectives, or as `dominates`.
    """
    if len(directions) != 2:
        raise ValueError(f"hypervolume: needs two objectives, got {len(directions)}")
    *costs, (bound_x, bound_y) = _costs([*points, reference], directions)
    area, floor = 0.0, bound_y
    for x, y in sorted(costs):
        if x < bound_x and y < floor:
            area += (bound_x - x) * (floor - y)
            floor = y
    return area


def _front_of_two(costs: Sequence[Point]) -> list[int]:
    """The front of two objectives by sorting: from left to right, points lower than all before, and points equal to them."""
    best: set[Point] = set()
    floor = math.inf
    for cost in sorted(costs):
        if cost[1] < floor:
            best.add(cost)
            floor = cost[1]
    return [index for index, cost in enumerate(costs) if cost in best]


def _dominates(a: Point, b: Point) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def _costs(points: Sequence[Point], directions: Sequence[Direction]) -> list[Point]:
    """The points with every objective converted to minimization."""
    for direction in directions:
        if direction not in ("maximize", "minimize"):
            raise ValueError(f"direction '{direction}': allowed are maximize, minimize")
    for index, point in enumerate(points):
        if len(point) != len(directions):
            raise ValueError(f"point {index} {tuple(point)}: {len(directions)} numbers needed, one per objective")
        if not all(math.isfinite(value) for value in point):
            raise ValueError(f"point {index} {tuple(point)}: not finite, so it cannot be compared")
    signs = [-1 if direction == "maximize" else 1 for direction in directions]
    return [tuple(sign * value for sign, value in zip(signs, point, strict=True)) for point in points]
