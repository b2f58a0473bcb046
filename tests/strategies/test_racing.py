"""Races: who leads, who may still win, when it is over, and how sure the choice is."""

from __future__ import annotations

import random
from statistics import mean

import pytest

from expand.core.errors import UsageError
from expand.core.study import Budget, Study
from expand.strategies.ledger import ledger
from expand.strategies.racing import PRIOR_NOISE, leader, next_seeds, probability_best, seed_noise, standings
from expand.strategies.stepwise import Stepwise
from expand.testing.simulated_search import MadeUpCosts, simulate
from expand.testing.strategy_contract import StrategyContract
from search_spaces.c3d import GROUPS, C3DSpace
from tests.strategies.test_guided import kernels

CLIPS = 0.0


def race_of(*groups, noise=0.05):
    return standings(groups, noise, [CLIPS] * len(groups))


def test_noise_starts_at_the_prior_and_follows_the_networks_with_several_seeds() -> None:
    assert seed_noise([[0.5], [0.9]]) == pytest.approx(PRIOR_NOISE)
    generator = random.Random(0)
    groups = [[mean_ + generator.gauss(0, 0.02) for _ in range(4)] for mean_ in (0.2, 0.5, 0.7) for _ in range(20)]
    assert seed_noise(groups) == pytest.approx(0.02, rel=0.15)


def test_one_seed_counts_less_than_three() -> None:
    once, thrice = race_of([0.60], [0.58, 0.58, 0.58], [0.3], [0.3])[:2]
    assert once.top1 < 0.60 and thrice.deviation < once.deviation
    assert abs(0.58 - thrice.top1) < abs(0.60 - once.top1)


def test_a_clear_winner_needs_no_more_seeds_and_a_close_rival_does() -> None:
    assert next_seeds(race_of([0.9], [0.4], [0.3], noise=0.03), most=5, enough=0.005) == []
    assert next_seeds(race_of([0.61], [0.60], [0.2], noise=0.03), most=5, enough=0.005) == [0, 1]


def test_those_with_fewer_seeds_come_first_and_the_last_seed_ends_the_race() -> None:
    close = race_of([0.61, 0.60], [0.60], [0.1], noise=0.05)
    assert next_seeds(close, most=5, enough=0.005) == [1]
    level = race_of([0.6] * 3, [0.6] * 3, noise=0.05)
    assert next_seeds(level, most=3, enough=0.005) == []
    assert next_seeds(level, most=4, enough=0.005) == [0, 1]


def test_the_probability_is_that_of_the_model() -> None:
    """Truths, then trainings are drawn from the model; how often the leader is the best is what it says on average."""
    generator = random.Random(1)
    said, right = [], []
    for _ in range(400):
        truths = [generator.gauss(0.5, 0.06) for _ in range(4)]
        groups = [[generator.gauss(truth, 0.04) for _ in range(2)] for truth in truths]
        race = standings(groups, 0.04, [0.0] * 4)
        first = leader(race)
        said.append(probability_best(race, first))
        right.append(truths[first] == max(truths))
    assert mean(said) == pytest.approx(mean(right), abs=0.06)


def test_probabilities_add_up_to_one() -> None:
    race = standings([[0.5], [0.52, 0.55], [0.4]], 0.04, [0.03, 0.03, 0.02])
    assert sum(probability_best(race, index) for index in range(3)) == pytest.approx(1, abs=1e-3)


def test_the_error_of_the_clips_is_not_lowered_by_seeds() -> None:
    many = [[0.5] * 5, [0.52] * 5]
    sure, unsure = (probability_best(standings(many, 0.02, [error] * 2), 1) for error in (0.0, 0.04))
    assert sure > 0.85 and unsure < 0.75


# --- inside a stepwise expansion ---


def study_of(race: float = 0.005, seeds=(0, 1, 2, 3, 4), steps: int = 2) -> Study:
    return Study(
        "test", C3DSpace(), Stepwise(axes=GROUPS, race=race, factor=1.2), budget=Budget(steps=steps), seeds=seeds
    )


class TestRacingStepwise(StrategyContract):
    study = study_of(seeds=(0, 3, 5), steps=1)
    races = True

    def macs(self, architecture) -> int:
        return kernels(architecture)


def noisy(suggestion) -> float:
    """Two axes are nearly as good as each other; the others are far behind."""
    generator = random.Random(f"{suggestion.architecture} {suggestion.seed}")
    near = {"conv1": 0.6, "conv2": 0.59}
    return near.get(suggestion.axes[0] if suggestion.axes else "", 0.2) + generator.gauss(0, 0.03)


def test_seeds_go_only_where_the_choice_is_open() -> None:
    trials = simulate(study_of(steps=1), MadeUpCosts(kernels), noisy)
    seeds = {}
    for trial in trials:
        if trial.suggestion.step == 1:
            seeds.setdefault(trial.suggestion.axes[0], []).append(trial.suggestion.seed)
    assert len(seeds) == 5 and seeds["conv4"] == seeds["conv5"] == [0]
    assert len(seeds["conv1"]) > 1 and len(seeds["conv2"]) > 1


def test_the_ledger_says_how_sure_the_choice_is_and_what_it_cost() -> None:
    trials = simulate(study_of(steps=1), MadeUpCosts(kernels), noisy)
    (step,) = [step for step in ledger(trials) if step.kind == "expand"]
    assert 0.3 < step.probability < 0.95 and step.trainings == len(trials) - 1 > 5
    assert f"the right choice with a probability of {100 * step.probability:.0f} %" in step.why


def test_without_a_race_nothing_changes() -> None:
    trials = simulate(study_of(race=0.0, seeds=(0, 1), steps=1), MadeUpCosts(kernels), noisy)
    assert len(trials) == 2 * 6


@pytest.mark.parametrize(
    ("race", "seeds", "words"), [(1.5, (0, 1), "from 0 to below 1"), (0.005, (0,), "needs several seeds")]
)
def test_races_that_cannot_be(race, seeds, words) -> None:
    study = study_of(race=race, seeds=seeds)
    with pytest.raises(UsageError, match=words):
        study.strategy.ask(study, [], MadeUpCosts(kernels))


def test_a_race_costs_less_than_all_seeds_and_chooses_as_well() -> None:
    """Over many steps of six candidates: fewer trainings than three seeds each, more right choices than one seed each."""
    generator = random.Random(2)
    once, raced, spent = [], [], []
    for _ in range(300):
        truths = [generator.gauss(0.5, 0.04) for _ in range(6)]
        groups = [[generator.gauss(truth, 0.03)] for truth in truths]
        once.append(max(truths) - truths[leader(standings(groups, 0.03, [0.0] * 6))])
        while more := next_seeds(standings(groups, 0.03, [0.0] * 6), most=5, enough=0.005):
            for index in more:
                groups[index].append(generator.gauss(truths[index], 0.03))
        raced.append(max(truths) - truths[leader(standings(groups, 0.03, [0.0] * 6))])
        spent.append(sum(map(len, groups)))
    assert mean(raced) < 0.6 * mean(once) and mean(spent) < 15
