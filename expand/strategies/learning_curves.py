"""A Gaussian process over networks and epochs: what a training will reach, judged by all trainings so far.

"Freeze-thaw" (Swersky, Snoek and Adams, arXiv 1406.3896), with one sum of kernels instead of a tree of processes. The accuracy of
network i, after the share u of its epochs, is

    y_i(u) = mean + m(u) + g(x_i) + (1 - u) h(x_i) + d_i + (1 - u) e_i + noise,    noise variance a² + b² (1 - u)²

m: the common learning curve (squared exponential in u). g and h: what the axes say of the end and of the way there (Matern 5/2
with a length for each axis). d_i and e_i: what is peculiar to a network. Functions of arrays; NumPy and SciPy.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize
from scipy.special import ndtr
from threadpoolctl import ThreadpoolController

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

# The matrices are small. Several BLAS threads would only wait for each other and for the trainings beside them: measured with two
# busy cores, a search on a table took 15 times as long.
ONE_THREAD = ThreadpoolController().wrap(limits=1, user_api="blas")

CURVE_LENGTH = 0.3  # of the common learning curve, in shares of the epochs
# Medians of the prior scales, as accuracies: g, h, d, e, m, a, b.
SCALES = np.log([0.12, 0.08, 0.03, 0.03, 0.15, 0.03, 0.05])
SPREAD = 0.7  # standard deviation of every prior's logarithm
LENGTH = 3.0  # median of the lengths: in doublings of a number; two kinds are 1 apart
ITERATIONS = 40


@dataclass(frozen=True)
class Points:
    """Coordinates of networks for the kernels.

    Attributes:
        values: (networks, columns): log2 of numbers; a kind is a column per choice, scaled so that two kinds are 1 apart.
        axis: (columns,): the axis of each column. All columns of an axis share a length.
    """

    values: Floats
    axis: Indices

    @property
    def axes(self) -> int:
        return int(self.axis.max()) + 1 if self.axis.size else 0


@dataclass(frozen=True)
class Results:
    """Accuracies that were seen.

    Attributes:
        network: (results,): row of `Points` of each.
        share: (results,): share of the epochs after which it was seen, above 0 to 1.
        top1: (results,): from 0 to 1.
    """

    network: Indices
    share: Floats
    top1: Floats


@dataclass(frozen=True)
class Predictor:
    """A fitted process. `mean_and_deviation` says what networks would reach at the end of their epochs."""

    points: Points
    results: Results
    scales: Floats
    lengths: Floats  # (2, axes): of g and of h
    centre: float
    factor: Floats  # lower Cholesky factor of the results' covariance
    weights: Floats

    @ONE_THREAD
    def mean_and_deviation(self, networks: Indices, others: Results | None = None) -> tuple[Floats, Floats]:
        """Means and standard deviations of the networks' accuracies at the end, without the noise of one training.

        Args:
            networks: rows of `points`.
            others: trainings in progress. They enter at their predicted means, which lowers the deviations alone.
        """
        ends = np.ones(len(networks))
        cross = _signal(
            self.points, networks, ends, self.results.network, self.results.share, self.scales, self.lengths
        )
        mean = self.centre + cross @ self.weights
        factor = self.factor
        if others is not None and len(others.network):
            network = np.concatenate([self.results.network, others.network])
            share = np.concatenate([self.results.share, others.share])
            factor = _factor(self.points, network, share, self.scales, self.lengths)
            cross = _signal(self.points, networks, ends, network, share, self.scales, self.lengths)
        g, _, d, _, m, *_ = np.exp(self.scales)
        explained = solve_triangular(factor, cross.T, lower=True)
        variance = g**2 + d**2 + m**2 - np.einsum("ij,ij->j", explained, explained)
        return mean, np.sqrt(np.maximum(variance, 1e-12))


def expected_gain(mean: Floats, deviation: Floats, level: float) -> Floats:
    """Expected improvement over an accuracy: s (z Phi(z) + phi(z)) with z = (mean - level) / s."""
    z = (mean - level) / deviation
    return np.asarray(deviation * (z * ndtr(z) + np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)))


@ONE_THREAD
def fit(points: Points, results: Results, *, learn_from: int | None = None) -> Predictor:
    """A process whose scales and lengths are the most probable given the results (L-BFGS, always from the same start).

    Args:
        points: all networks that may be asked about.
        results: at least one.
        learn_from: scales and lengths are learned from so many of the first results; None learns from all.
    """
    first = slice(learn_from)
    centre = float(results.top1.mean())
    used = _used(points, Results(results.network[first], results.share[first], results.top1[first]))
    parameters = _most_probable(*used)
    scales, lengths = parameters[: len(SCALES)], np.exp(parameters[len(SCALES) :]).reshape(2, -1)
    factor = _factor(points, results.network, results.share, scales, lengths)
    weights = cho_solve((factor, True), results.top1 - centre)
    return Predictor(points, results, scales, lengths, centre, factor, weights)


def _used(points: Points, results: Results) -> tuple[bytes, int, bytes, bytes, bytes, int]:
    """What the most probable parameters depend on, as values that a cache can compare."""
    values = np.ascontiguousarray(points.values[results.network])
    return (
        values.tobytes(), values.shape[1], np.ascontiguousarray(points.axis).tobytes(),
        results.share.tobytes(), results.top1.tobytes(), len(results.share),
    )  # fmt: skip


@functools.lru_cache(maxsize=64)
def _most_probable(values: bytes, columns: int, axis: bytes, share: bytes, top1: bytes, count: int) -> Floats:
    points = Points(np.frombuffer(values).reshape(count, columns), np.frombuffer(axis, dtype=np.intp))
    u, y = np.frombuffer(share), np.frombuffer(top1)
    start = np.concatenate([SCALES, np.full(2 * points.axes, np.log(LENGTH))])
    if count < 3:
        return start
    squares = _squares(points)
    same = np.all(points.values[:, None, :] == points.values[None, :, :], axis=2).astype(float)

    def objective(parameters: Floats) -> tuple[float, Floats]:
        return _loss(parameters, start, squares, same, u, y - y.mean())

    bounds = [(value - 3, value + 3) for value in start]
    found: Any = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": ITERATIONS})
    return np.asarray(found.x, dtype=float)


def _squares(points: Points) -> Floats:
    """Squared distances along each axis: (axes, networks, networks)."""
    found = np.zeros((points.axes, len(points.values), len(points.values)))
    for column, axis in enumerate(points.axis):
        difference = points.values[:, None, column] - points.values[None, :, column]
        found[axis] += difference**2
    return found


def _loss(
    parameters: Floats, start: Floats, squares: Floats, same: Floats, u: Floats, y: Floats
) -> tuple[float, Floats]:
    """Negative log posterior of scales and lengths, and its gradient."""
    count = len(SCALES)
    g, h, d, e, m, a, b = np.exp(2 * parameters[:count])
    lengths = np.exp(parameters[count:]).reshape(2, -1)
    ends, early = _matern(squares, lengths[0]), _matern(squares, lengths[1])
    left = (1 - u)[:, None] * (1 - u)[None, :]
    curve = np.exp(-0.5 * ((u[:, None] - u[None, :]) / CURVE_LENGTH) ** 2)
    parts = [
        g * ends[0], h * left * early[0], d * same, e * left * same, m * curve,
        np.diag(np.full(len(u), a)), np.diag(b * (1 - u) ** 2),
    ]  # fmt: skip
    covariance = sum(parts) + 1e-8 * np.eye(len(u))
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return 1e12, np.zeros_like(parameters)
    inverse = cho_solve((factor, True), np.eye(len(u)))
    weights = inverse @ y
    pull = inverse - np.outer(weights, weights)  # the gradient of the loss by a part is half the sum of pull * part
    gradient = np.empty_like(parameters)
    for index, part in enumerate(parts):
        gradient[index] = np.sum(pull * part)  # parts grow with the square of a scale
    position = count
    for (_, slope), length, outer in ((ends, lengths[0], g), (early, lengths[1], h * left)):
        weighted = pull * outer * slope
        for axis, own in enumerate(length):
            gradient[position] = 0.5 * np.sum(weighted * squares[axis]) / own**2
            position += 1
    away = (parameters - start) / SPREAD
    loss = 0.5 * y @ weights + np.log(np.diag(factor)).sum() + 0.5 * away @ away
    return float(loss), gradient + away / SPREAD


def _matern(squares: Floats, lengths: Floats) -> tuple[Floats, Floats]:
    """Matern 5/2 and, for gradients, its slope: the derivative by the logarithm of a length is slope x squares / length²."""
    distance = np.sqrt(np.tensordot(1 / lengths**2, squares, axes=1) * 5)
    decay = np.exp(-distance)
    return (1 + distance + distance**2 / 3) * decay, 5 / 3 * (1 + distance) * decay


def _signal(points: Points, i: Indices, u: Floats, j: Indices, v: Floats, scales: Floats, lengths: Floats) -> Floats:
    """Covariance of results (i, u) and (j, v), without the noise of single trainings."""
    g, h, d, e, m, *_ = np.exp(2 * scales)
    squares = np.zeros((2, len(i), len(j)))
    for column, axis in enumerate(points.axis):
        difference = (points.values[i, column][:, None] - points.values[j, column][None, :]) ** 2
        squares += difference / lengths[:, axis][:, None, None] ** 2
    distance = np.sqrt(5 * squares)
    kernel = (1 + distance + distance**2 / 3) * np.exp(-distance)
    left = (1 - u)[:, None] * (1 - v)[None, :]
    same = i[:, None] == j[None, :]
    curve = np.exp(-0.5 * ((u[:, None] - v[None, :]) / CURVE_LENGTH) ** 2)
    return np.asarray(g * kernel[0] + h * left * kernel[1] + same * (d + e * left) + m * curve)


def _factor(points: Points, network: Indices, share: Floats, scales: Floats, lengths: Floats) -> Floats:
    covariance = _signal(points, network, share, network, share, scales, lengths)
    a, b = np.exp(2 * scales[-2:])
    noise = a + b * (1 - share) ** 2 + 1e-8
    return np.asarray(np.linalg.cholesky(covariance + np.diag(noise)))
