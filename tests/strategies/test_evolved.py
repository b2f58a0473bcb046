"""Evolution and Optuna's samplers: new networks within the limits only, near the best, and the same again after a kill."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from expand.core.study import Budget, Recipe, Study
from expand.strategies.evolved import Evolved, crowding
from expand.strategies.halving import Halving
from expand.strategies.optuna_sampler import OptunaSampler
from expand.testing.simulated_search import simulate
from expand.testing.strategy_contract import StrategyContract
from search_spaces.c3d import GROUPS
from search_spaces.mixed_conv import MixedConvSpace
from tests.strategies.test_guided import COSTS, good, kernels, study_of


class TestEvolved(StrategyContract):
    study = study_of(Evolved(axes=GROUPS, values=0), seeds=(0, 1), budget=Budget(trials=24))
    learns = True
    refused: ClassVar[dict[str, Study]] = {
        "needs a limit on a cost": study_of(Evolved(axes=GROUPS), limit=None),
        "the limits allow none of": study_of(Evolved(axes=GROUPS), limit=0.001),
        "too small to train one network": study_of(Evolved(axes=GROUPS), budget=Budget(epochs=15)),
    }

    def macs(self, architecture) -> int:
        return kernels(architecture)


class TestTpe(StrategyContract):
    study = study_of(OptunaSampler("tpe", axes=GROUPS, values=0), budget=Budget(trials=10))
    learns = True

    def macs(self, architecture) -> int:
        return kernels(architecture)


class TestNsga2(StrategyContract):
    study = study_of(OptunaSampler("nsga2", axes=GROUPS, values=0), budget=Budget(trials=14))
    learns = True

    def macs(self, architecture) -> int:
        return kernels(architecture)


class TestHalving(StrategyContract):
    study = study_of(Halving(axes=GROUPS, values=0), budget=Budget(gmac_epochs=1.5), seeds=(0, 1))
    learns = True
    refused: ClassVar[dict[str, Study]] = {
        "too few to pause": replace(study_of(Halving(axes=GROUPS)), recipe=Recipe(epochs=2)),
    }

    def macs(self, architecture) -> int:
        return kernels(architecture)


STRATEGIES = [
    Evolved,
    lambda **fields: OptunaSampler("tpe", **fields),
    lambda **fields: OptunaSampler("nsga2", **fields),
]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_no_network_is_trained_twice_or_beyond_the_limit(strategy) -> None:
    """Tight limits and few networks: most of what a sampler proposes is one or the other."""
    study = study_of(strategy(axes=GROUPS, values=0), limit=0.012, budget=Budget(trials=30))
    trials = simulate(study, COSTS, good)
    assert all(kernels(trial.architecture) <= 12_000_000 for trial in trials)
    assert len({trial.architecture for trial in trials}) == len(trials) == 30


def test_kinds_of_layers_are_searched() -> None:
    study = study_of(
        Evolved(axes=("conv3", "conv4", "conv5")), space=MixedConvSpace(), limit=100, budget=Budget(trials=12)
    )
    trials = simulate(study)
    assert len({trial.architecture for trial in trials}) == 12


def test_children_are_nearer_to_the_front_than_chance() -> None:
    """On the front all kernels but the first are of length 1; over all networks within the limit they have 14 to 15 in sum."""
    study = study_of(Evolved(axes=GROUPS, values=0), budget=Budget(trials=50))
    children = [trial for trial in simulate(study, COSTS, good) if "axes moved" in trial.suggestion.reason]
    others = [sum(t.architecture[f"{group}_depth"] for group in GROUPS[1:]) for t in children[-20:]]
    assert np.mean(others) < 10


def test_crowding_prefers_the_ends_and_the_gaps() -> None:
    points = np.array([[0.0, 0.0], [0.1, 0.1], [0.5, 0.5], [1.0, 1.0]])
    assert crowding(points).tolist() == [np.inf, 1.0, pytest.approx(1.8), np.inf]
