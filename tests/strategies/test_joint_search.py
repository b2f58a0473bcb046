"""Strategies search axes of the recipe as any other: the contract, and a search in which only the learning rate matters."""

from __future__ import annotations

import math
from dataclasses import replace

from test_guided import COSTS, GROUPS, kernels, study_of

from expand.core.joint import RecipeAxis, joint
from expand.core.study import Budget, Study
from expand.strategies.evolved import Evolved
from expand.strategies.grid import Grid
from expand.strategies.guided import Guided
from expand.strategies.halving import Halving
from expand.strategies.optuna_sampler import OptunaSampler
from expand.testing.simulated_search import MadeUpCosts, simulate
from expand.testing.strategy_contract import StrategyContract

RATE = RecipeAxis("learning_rate", 0.0125, 0.2, start=0.05)
OPTIMISER = RecipeAxis("optimiser", choices=("sgd", "adamw"))
SEARCHED = (*GROUPS[:2], "learning_rate", "optimiser")


def with_recipe(strategy, trials: int = 12, **fields) -> Study:
    return joint(study_of(strategy, budget=Budget(trials=trials), **fields), RATE, OPTIMISER)


class Joint(StrategyContract):
    learns = True

    def macs(self, architecture) -> int:
        return kernels(architecture)


class TestGuided(Joint):
    study = with_recipe(Guided(axes=SEARCHED), seeds=(0, 1))


class TestEvolved(Joint):
    study = with_recipe(Evolved(axes=SEARCHED))


class TestOptunaSampler(Joint):
    study = with_recipe(OptunaSampler(axes=SEARCHED), trials=9)


class TestHalving(Joint):
    study = with_recipe(Halving(axes=SEARCHED))


class TestGrid(Joint):
    study = with_recipe(Grid(axes=("learning_rate", "optimiser")), trials=8)
    learns = False


def test_the_learning_rate_that_helps_is_found() -> None:
    def top1(suggestion) -> float:
        return 0.6 - 0.2 * abs(math.log2(suggestion.architecture["learning_rate"] / 0.1)) / 3

    study = joint(study_of(Guided(axes=(*GROUPS[:2], "learning_rate")), budget=Budget(trials=18)), RATE)
    trials = simulate(study, MadeUpCosts(kernels), top1)
    later = [trial.architecture["learning_rate"] for trial in trials[9:]]
    assert later and later.count(0.1) > len(later) / 2
    assert simulate(study, COSTS, top1) == trials


def test_a_recipe_alone_is_searched_too() -> None:
    study = replace(with_recipe(Grid(axes=("optimiser", "learning_rate")), trials=99), seeds=(0, 1))
    trials = simulate(study, COSTS, lambda suggestion: 0.5)
    assert len(trials) == 2 * 5 * 2 and len({trial.cost.macs for trial in trials}) == 1
    assert len({study.recipe_of(trial.architecture) for trial in trials}) == 10
