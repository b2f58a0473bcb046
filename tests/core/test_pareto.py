"""Pareto logic on tables worked out by hand."""

from __future__ import annotations

import math
import operator

import pytest
from hypothesis import given
from hypothesis import strategies as some

from expand.core.pareto import dominates, hypervolume, pareto_front

ACCURACY_COST = ("maximize", "minimize")

#      top1  cost    dominated by
TABLE = [
    (0.50, 1.0),  # 0: cheapest, on the front
    (0.60, 2.0),  # 1: on the front
    (0.55, 2.0),  # 2: by 1 (same cost, lower)
    (0.60, 3.0),  # 3: by 1 (same accuracy, dearer)
    (0.80, 4.0),  # 4: on the front
    (0.70, 5.0),  # 5: by 4
    (0.80, 4.0),  # 6: equal to 4, kept as well
    (0.90, 9.0),  # 7: on the front
]


@pytest.mark.parametrize(
    ("a", "b", "directions", "expected"),
    [
        ((0.6, 2.0), (0.5, 2.0), ACCURACY_COST, True),
        ((0.5, 2.0), (0.6, 2.0), ACCURACY_COST, False),
        ((0.6, 1.0), (0.6, 2.0), ACCURACY_COST, True),
        ((0.6, 2.0), (0.6, 2.0), ACCURACY_COST, False),
        ((0.7, 3.0), (0.6, 2.0), ACCURACY_COST, False),
        ((1.0, 1.0), (2.0, 2.0), ("minimize", "minimize"), True),
        ((1.0, 1.0), (2.0, 2.0), ("maximize", "maximize"), False),
        ((1.0, 1.0, 1.0), (1.0, 1.0, 2.0), ("maximize", "minimize", "minimize"), True),
    ],
)
def test_dominates(a, b, directions, expected):
    assert dominates(a, b, directions) is expected


def test_front_in_the_order_of_the_input_with_equal_points():
    assert pareto_front(TABLE, ACCURACY_COST) == [0, 1, 4, 6, 7]
    assert pareto_front(TABLE[::-1], ACCURACY_COST) == [0, 1, 3, 6, 7]


NUMBERS = some.integers(-3, 3) | some.floats(-1e3, 1e3)  # of the first many are equal
BETTER = {"maximize": operator.ge, "minimize": operator.le}


@given(some.lists(some.sampled_from(("maximize", "minimize")), min_size=1, max_size=3), some.data())
def test_the_front_is_what_nothing_dominates(directions, data):
    points = data.draw(some.lists(some.tuples(*[NUMBERS] * len(directions)), max_size=9))

    def beats(a, b) -> bool:
        return a != b and all(BETTER[d](x, y) for d, x, y in zip(directions, a, b, strict=True))

    assert all(dominates(a, b, directions) is beats(a, b) for a in points for b in points)
    front = [index for index, point in enumerate(points) if not any(beats(other, point) for other in points)]
    assert pareto_front(points, directions) == front


@given(some.lists(some.tuples(some.integers(-2, 8), some.integers(-2, 8)), max_size=8))
def test_hypervolume_counts_the_dominated_squares(points):
    squares = [(x, y) for x in range(-2, 6) for y in range(-2, 6)]
    covered = sum(any(a <= x and b <= y for a, b in points) for x, y in squares)
    assert hypervolume(points, ("minimize", "minimize"), (6, 6)) == covered
    turned = [(-a, b) for a, b in points]
    assert hypervolume(turned, ("maximize", "minimize"), (-6, 6)) == covered


def test_front_of_one_and_of_three_objectives_and_of_nothing():
    assert pareto_front([(3.0,), (1.0,), (1.0,)], ("minimize",)) == [1, 2]
    points = [(0.5, 1.0, 9.0), (0.5, 2.0, 3.0), (0.5, 2.0, 4.0)]
    assert pareto_front(points, ("maximize", "minimize", "minimize")) == [0, 1]
    assert pareto_front([], ACCURACY_COST) == []


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_named(bad):
    with pytest.raises(ValueError, match=r"point 1 \(0.6, (nan|inf|-inf)\)"):
        pareto_front([(0.5, 1.0), (0.6, bad)], ACCURACY_COST)


def test_wrong_lengths_and_directions_are_named():
    with pytest.raises(ValueError, match="point 0"):
        pareto_front([(0.5,)], ACCURACY_COST)
    with pytest.raises(ValueError, match="'up'"):
        dominates((1.0,), (2.0,), ("up",))


def test_hypervolume_by_hand():
    # boxes down to accuracy 0 and out to cost 10: 0.5 × 9, then 0.1 more × 8, 0.2 × 6, 0.1 × 1
    assert hypervolume(TABLE, ACCURACY_COST, (0.0, 10.0)) == pytest.approx(4.5 + 0.8 + 1.2 + 0.1)
    assert hypervolume([(1.0, 1.0)], ("minimize", "minimize"), (3.0, 4.0)) == pytest.approx(6.0)


def test_hypervolume_ignores_what_is_not_better_than_the_reference():
    assert hypervolume([(0.1, 1.0), (0.9, 11.0)], ACCURACY_COST, (0.2, 10.0)) == 0.0
    assert hypervolume([], ACCURACY_COST, (0.0, 1.0)) == 0.0


def test_hypervolume_is_for_two_objectives():
    with pytest.raises(ValueError, match="needs two objectives, got 3"):
        hypervolume([(1.0, 2.0, 3.0)], ("minimize",) * 3, (9.0, 9.0, 9.0))
