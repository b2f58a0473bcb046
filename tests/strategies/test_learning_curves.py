"""The model of learning curves: its gradient, what it learns, and what it does not claim to know."""

from __future__ import annotations

import numpy as np
import pytest

from expand.strategies import learning_curves
from expand.strategies.learning_curves import LENGTH, SCALES, Points, Results, fit


def made(count: int = 40, seed: int = 0):
    """Networks whose accuracy depends on two of three axes, seen after a quarter, half and all of their epochs."""
    generator = np.random.default_rng(seed)
    points = Points(generator.uniform(0, 3, (count, 3)), np.arange(3))
    truth = 0.3 + 0.1 * points.values[:, 0] + 0.04 * np.sin(2 * points.values[:, 1])
    network = np.repeat(np.arange(count // 2), 3)
    share = np.tile([0.25, 0.5, 1.0], count // 2)
    top1 = truth[network] * (0.5 + 0.5 * share) + 0.02 * generator.standard_normal(len(network))
    return points, truth, Results(network, share, top1)


def test_the_gradient_is_the_slope() -> None:
    points, _, results = made()
    own = Points(points.values[results.network], points.axis)
    start = np.concatenate([SCALES, np.full(6, np.log(LENGTH))])
    squares = learning_curves._squares(own)
    same = (results.network[:, None] == results.network[None, :]).astype(float)

    def loss(parameters):
        return learning_curves._loss(
            parameters, start, squares, same, results.share, results.top1 - results.top1.mean()
        )

    place = start + 0.3 * np.random.default_rng(1).standard_normal(len(start))
    steps = 1e-5 * np.eye(len(start))
    slopes = [(loss(place + step)[0] - loss(place - step)[0]) / 2e-5 for step in steps]
    assert loss(place)[1] == pytest.approx(slopes, rel=1e-4, abs=1e-4)


def test_it_predicts_networks_that_it_has_not_seen() -> None:
    points, truth, results = made()
    unseen = np.arange(20, 40)
    mean, deviation = fit(points, results).mean_and_deviation(unseen)
    assert np.corrcoef(mean, truth[unseen])[0, 1] > 0.9
    assert np.mean(np.abs(mean - truth[unseen]) < 2 * deviation) > 0.8


def test_what_was_trained_further_is_known_better() -> None:
    points, _, results = made()
    early = results.share < 1
    some = Results(results.network[early], results.share[early], results.top1[early])
    rows = np.arange(20)
    _, before = fit(points, some, learn_from=30).mean_and_deviation(rows)
    _, after = fit(points, results, learn_from=30).mean_and_deviation(rows)
    assert after.mean() < before.mean()


def test_running_trainings_lower_the_uncertainty_and_move_no_mean() -> None:
    points, _, results = made()
    model, rows = fit(points, results), np.arange(20, 40)
    mean, deviation = model.mean_and_deviation(rows)
    running = Results(np.array([25]), np.array([1.0]), np.array([0.0]))
    other_mean, other = model.mean_and_deviation(rows, running)
    assert (other_mean == mean).all() and (other <= deviation + 1e-9).all() and other[5] < 0.8 * deviation[5]
