"""Guided search: what it may train, what it trains next, and how the gain of a front is computed."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from expand.core.study import Budget, Objective, Recipe, Study
from expand.core.trial import TrialState
from expand.strategies.candidates import pool
from expand.strategies.guided import Guided, _work, front_gain, seed_gain
from expand.strategies.knowledge import knowledge
from expand.testing.simulated_search import MadeUpCosts, simulate
from expand.testing.strategy_contract import StrategyContract
from search_spaces.c3d import GROUPS, C3DSpace
from search_spaces.mixed_conv import MixedConvSpace

SPACE = C3DSpace()
TOP1 = Objective("top1", "maximize")


def kernels(architecture) -> int:
    """A cost by hand: the temporal lengths of a C3D's kernels."""
    return 1_000_000 * sum(architecture[f"{group}_depth"] for group in GROUPS)


COSTS = MadeUpCosts(kernels)


def study_of(strategy, *, limit: float | None = 0.030, budget: Budget | None = None, seeds=(0,), space=SPACE) -> Study:
    gmacs = Objective("gmacs", "minimize", known_before_training=True, limit=limit)
    return Study(
        "test",
        space,
        strategy,
        Recipe(epochs=16),
        budget=budget or Budget(trials=14),
        objectives=(TOP1, gmacs),
        seeds=seeds,
    )


def guided(**fields) -> Guided:
    return Guided(axes=GROUPS, values=0, **fields)


class TestGuided(StrategyContract):
    study = study_of(guided(pauses="always"), budget=Budget(gmac_epochs=0.8), seeds=(0, 1))
    learns = True
    refused: ClassVar[dict[str, Study]] = {
        "needs a limit on a cost": study_of(guided(), limit=None),
        "the limits allow none of": study_of(guided(), limit=0.001),
        "did you mean 'conv": study_of(Guided(axes=("conv9",))),
        "too small to train one network": study_of(guided(), budget=Budget(epochs=15)),
        "would train all": study_of(guided(), budget=Budget(attempts=2)),
        "too few for pauses": replace(study_of(guided(pauses="always")), recipe=Recipe(epochs=4)),
        "needs gmacs or params_m": replace(study_of(guided()), objectives=(TOP1,)),
    }

    def macs(self, architecture) -> int:
        return kernels(architecture)


class TestGuidedInARace(TestGuided):
    study = study_of(guided(race=True), budget=Budget(trials=24), seeds=(0, 1, 2))
    races = True
    refused: ClassVar[dict[str, Study]] = {"a race needs several seeds": study_of(guided(race=True))}


@pytest.mark.heavy
class TestGuidedToTheEnd(StrategyContract):
    study = study_of(
        Guided(axes=("conv3", "conv4", "conv5")), space=MixedConvSpace(), limit=100, budget=Budget(trials=9)
    )
    learns = True


def good(suggestion) -> float:
    """Longer kernels in the first group are all that helps."""
    return 0.1 + 0.1 * suggestion.architecture["conv1_depth"]


def test_it_finds_what_helps_in_a_small_part_of_the_networks() -> None:
    trials = simulate(study_of(guided(), budget=Budget(trials=24)), COSTS, good)
    longest = max(SPACE.axis(GROUPS[0]).choices)
    after = [trial for trial in trials if trial.suggestion.predicted]
    assert sum(trial.architecture["conv1_depth"] == longest for trial in after) > len(after) / 2
    cheapest = min(kernels(t.architecture) for t in trials if t.architecture["conv1_depth"] == longest)
    assert cheapest == min(longest * 1_000_000 + 4_000_000, cheapest)


def test_a_network_beyond_the_limit_or_twice_is_never_trained() -> None:
    trials = simulate(study_of(guided(pauses="always"), budget=Budget(gmac_epochs=3)), COSTS, good)
    assert all(kernels(trial.architecture) <= 30_000_000 for trial in trials)
    assert len({trial.architecture for trial in trials}) == len(trials) > 10


def test_the_budget_in_multiply_adds_is_held_and_the_front_is_finished() -> None:
    study = study_of(guided(pauses="always"), budget=Budget(gmac_epochs=2))
    trials = simulate(study, COSTS, good)
    assert sum(trial.cost.gmacs * trial.reached for trial in trials) <= 2
    paused = [trial for trial in trials if trial.state is TrialState.PAUSED]
    assert paused and all(0 < trial.reached < 16 for trial in paused)
    assert any(trial.state is TrialState.COMPLETE for trial in trials)


def test_a_paused_training_goes_on_with_its_number() -> None:
    trials = simulate(study_of(guided(pauses="always"), budget=Budget(gmac_epochs=2)), COSTS, good)
    finished = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    assert finished and all(trial.suggestion.until is None and trial.suggestion.epochs == 16 for trial in finished)


def test_every_suggestion_says_what_it_expects() -> None:
    trials = simulate(study_of(guided()), COSTS, good)
    told = [trial.suggestion for trial in trials if trial.suggestion.predicted]
    assert told and all("expected gain" in suggestion.reason for suggestion in told)
    assert all(suggestion.seen >= 6 and 0 < suggestion.predicted[1] < 0.5 for suggestion in told)


@pytest.mark.parametrize("objectives", [1, 2])
def test_the_gain_of_the_front_is_what_monte_carlo_says(objectives) -> None:
    generator = np.random.default_rng(objectives)
    costs = 2.0 ** generator.uniform(0, 4, (9, objectives))
    mean, deviation = generator.uniform(0.2, 0.8, 9), generator.uniform(0.02, 0.2, 9)
    done = np.arange(9) < 4
    gain = front_gain(costs, mean, deviation, done)
    logs, samples = np.log2(costs), 2000
    for row in (5, 8):
        drawn = mean[row] + deviation[row] * generator.standard_normal(samples)
        lines = [np.linspace(low, high + 1, 121) for low, high in zip(logs.min(0), logs.max(0), strict=True)]
        marks = np.stack(np.meshgrid(*lines)).reshape(objectives, -1).T
        cell = np.prod((logs.max(0) + 1 - logs.min(0)) / 120)
        right = np.all(marks >= logs[row], axis=1)
        below = np.array([
            max([mean.min()] + [mean[other] for other in range(4) if np.all(logs[other] <= mark)]) for mark in marks[right]
        ])  # fmt: skip
        expected = np.mean([np.maximum(value - below, 0).sum() * cell for value in drawn])
        assert gain[row] == pytest.approx(expected, rel=0.12, abs=0.003)


def lucky(suggestion) -> float:
    """Longer kernels help a little, and a seed is worth up to 12 points more than another."""
    return (
        0.4
        + 0.02 * suggestion.architecture["conv1_depth"]
        + 0.06 * ((suggestion.seed * 7 + sum(suggestion.architecture.as_dict().values())) % 3)
    )


def test_a_race_gives_more_seeds_only_to_finished_networks_near_the_front() -> None:
    strategy = Guided(axes=GROUPS[:2], values=0, race=True, enough=1e-6)
    study = study_of(strategy, budget=Budget(trials=22), seeds=(0, 1, 2))
    trials = simulate(study, COSTS, lucky)
    seeds: dict[object, list[int]] = {}
    for trial in trials:
        seeds.setdefault(trial.architecture, []).append(trial.suggestion.seed)
    assert all(own == [0, 1, 2][: len(own)] for own in seeds.values())
    more = [network for network, own in seeds.items() if len(own) > 1]
    assert 0 < len(more) < len(seeds)
    means = {network: np.mean([lucky(t.suggestion) for t in trials if t.architecture == network]) for network in seeds}
    raced, others = ([means[each] for each in seeds if (each in more) is wanted] for wanted in (True, False))
    assert np.mean(raced) > np.mean(others)
    assert all("one more seed" in trial.suggestion.reason for trial in trials if trial.suggestion.seed)


def test_the_worth_of_a_seed_is_what_monte_carlo_says() -> None:
    generator = np.random.default_rng(3)
    costs = np.array([[1.0], [2.0], [4.0], [8.0]])
    mean, deviation = np.array([0.40, 0.52, 0.50, 0.70]), np.array([0.05, 0.04, 0.06, 0.03])
    gain = seed_gain(costs, mean, deviation, np.array([True, True, True, False]))
    assert gain[3] == 0
    finished, widths = mean[:3], (1.0, 1.0, 1.0)  # doublings up to twice the largest cost of a finished network

    def area(tops) -> float:
        return sum(width * max(tops[: place + 1]) for place, width in enumerate(widths))

    for row in range(3):
        moved = [
            area([*finished[:row], finished[row] + step, *finished[row + 1 :]])
            for step in deviation[row] * generator.standard_normal(40_000)
        ]
        assert gain[row] == pytest.approx(np.mean(moved) - area(list(finished)), abs=0.002)


def test_a_network_that_trains_or_failed_is_not_asked_for_again() -> None:
    strategy = Guided(axes=GROUPS[:2], values=0, race=True, enough=1e-6)
    study = study_of(strategy, budget=Budget(trials=22), seeds=(0, 1, 2))
    trials = simulate(study, COSTS, lucky)
    last = next(trial for trial in trials if trial.suggestion.seed == 1)
    before = [trial for trial in trials if trial.number < last.number]
    (wanted,) = strategy.ask(study, before, COSTS)
    assert wanted.architecture == last.architecture and wanted.seed == 1
    running = replace(last, state=TrialState.RUNNING, metrics=None, curve=())
    (other,) = strategy.ask(study, [*before, running], COSTS)
    assert other.architecture != last.architecture
    # The best network that is left fails: the search goes on with another one.
    first = next(trial for trial in trials if trial.suggestion.predicted and trial.suggestion.seed == 0)
    failed = replace(first, state=TrialState.FAILED, metrics=None, curve=())
    (next_one,) = strategy.ask(study, [*(t for t in trials if t.number < first.number), failed], COSTS)
    assert next_one.architecture != first.architecture


def test_a_training_is_weighed_by_the_limit_that_it_uses_up_most() -> None:
    """Where the number of trainings ends the search, a cheap one is worth no more of it than an expensive one."""

    def work_of(budget: Budget) -> np.ndarray:
        study = study_of(guided(), budget=budget)
        found = pool(study, study.strategy.choice, COSTS)
        known = knowledge(study, found, [], [16])
        count = len(found.networks)
        return _work(known, np.full(count, 16), np.zeros(count, dtype=bool)) / found.gmacs

    macs = work_of(Budget(gmac_epochs=2.0))
    assert macs == pytest.approx(macs[0])
    trainings = work_of(Budget(trials=24, gmac_epochs=1000.0))
    assert trainings.max() > 5 * trainings.min()  # as the costs do: its share is the same for all
    both = work_of(Budget(trials=24, gmac_epochs=24 * 16 * 0.015))  # limits that meet at a cost of 0.015
    assert both.min() == pytest.approx(16 / (24 * 16 * 0.015), rel=0.01) and both.max() > 2 * both.min()
