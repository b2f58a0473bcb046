"""A score as a prior of guided search: when it steers, what is said of it, and that it is off otherwise."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from expand.config.serialize import describe, differences
from expand.core.errors import UsageError
from expand.core.study import Budget
from expand.core.trial import TrialState
from expand.counting.scores import FROM_SHAPES
from expand.strategies.guided import Guided
from expand.strategies.learning_curves import Points
from expand.strategies.prior import PRIORS, with_score
from expand.testing.simulated_search import MadeUpCosts, simulate
from expand.testing.strategy_contract import StrategyContract
from tests.strategies.test_guided import COSTS, good, guided, kernels, study_of


def knows(architecture) -> float:
    """A score that ranks as the accuracies of `good` do."""
    return float(architecture["conv1_depth"])


ORACLE = MadeUpCosts(kernels, knows)
MISLEADING = MadeUpCosts(kernels, lambda architecture: -knows(architecture))


class TestGuidedWithAPrior(StrategyContract):
    study = study_of(guided(prior="entropy", pauses="never"), budget=Budget(trials=11))
    learns = True
    refused: ClassVar[dict] = {}

    def macs(self, architecture) -> int:
        return kernels(architecture)

    @property
    def costs(self) -> MadeUpCosts:
        return ORACLE


def searched(costs, **fields):
    return simulate(study_of(guided(pauses="never", **fields), budget=Budget(trials=16)), costs, good)


def reasons(trials) -> list[str]:
    return [trial.suggestion.reason for trial in trials if trial.suggestion.predicted]


def test_nothing_is_said_or_changed_without_a_prior() -> None:
    plain = searched(COSTS)
    assert not any("prior" in reason for reason in reasons(plain))
    assert [t.architecture for t in searched(ORACLE)] == [t.architecture for t in plain]


def test_a_score_waits_for_eight_finished_networks_and_then_steers() -> None:
    trials = searched(ORACLE, prior="entropy")
    said = reasons(trials)
    assert "prior entropy not used yet: 6 of 8 networks are finished" in said[0]
    assert all("not used yet" in reason for reason in said[:2]) and not any(
        "not used yet" in reason for reason in said[2:]
    )
    assert "prior entropy used: it ranks 8 finished networks with tau 1.00, multiply-adds with" in said[2]
    plain = searched(COSTS)
    assert [t.architecture for t in trials[:8]] == [t.architecture for t in plain[:8]]
    assert [t.suggestion.predicted for t in trials[8:]] != [t.suggestion.predicted for t in plain[8:]]


def test_a_score_that_ranks_worse_than_multiply_adds_changes_nothing() -> None:
    trials, plain = searched(MISLEADING, prior="entropy"), searched(COSTS)
    assert "prior entropy not used: it ranks 8 finished networks with tau -" in reasons(trials)[2]
    assert [(t.architecture, t.suggestion.predicted) for t in trials] == [
        (t.architecture, t.suggestion.predicted) for t in plain
    ]


def test_a_score_that_ranks_no_better_than_multiply_adds_is_not_used() -> None:
    trials = searched(MadeUpCosts(kernels), prior="params")  # the score is the cost
    assert all("prior params not used" in reason for reason in reasons(trials)) and len(trials) == 16


def test_with_a_score_that_knows_the_best_networks_are_found_with_smaller_errors() -> None:
    def error(trials) -> float:
        late = [t for t in trials[8:] if t.state is TrialState.COMPLETE and t.suggestion.predicted]
        return float(np.mean([abs(t.metrics.top1 - t.suggestion.predicted[0]) for t in late]))

    assert error(searched(ORACLE, prior="entropy")) < error(searched(COSTS))


def test_a_score_is_one_more_axis_with_the_spread_of_the_costs_doublings() -> None:
    points = Points(np.arange(8.0).reshape(4, 2), np.array([0, 0]))
    gmacs = np.array([1.0, 2.0, 4.0, 8.0])
    found = with_score(points, np.array([10.0, 20.0, 30.0, 40.0]), gmacs)
    assert found.axis.tolist() == [0, 0, 1] and np.array_equal(found.values[:, :2], points.values)
    assert found.values[:, 2] == pytest.approx([-1.5, -0.5, 0.5, 1.5])
    assert with_score(points, np.ones(4), gmacs).values[:, 2].tolist() == [0, 0, 0, 0]


def test_priors_are_scores_that_cost_nothing_and_others_are_refused() -> None:
    assert set(PRIORS) < set(FROM_SHAPES)
    for prior in ("synflow", "zen", ""):
        with pytest.raises(UsageError, match=r"strategy.prior=.*: allowed are entropy, params, none"):
            Guided(prior=prior)


def test_runs_from_before_there_were_priors_are_the_same_experiment() -> None:
    now = describe(Guided())
    before = {name: value for name, value in now.items() if name != "prior"}
    assert differences(before, now) == []
    assert differences(before, describe(Guided(prior="entropy"))) == ["prior: None in the run, entropy now"]
