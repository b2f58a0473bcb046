"""The contract of strategies notices when one breaks it: one broken strategy a way, failing in the rule that is meant."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from expand.core.study import Budget, Study
from expand.core.trial import Suggestion
from expand.strategies.grid import Grid, next_network
from expand.strategies.sampled import Sampled
from expand.strategies.stepwise import Stepwise
from expand.testing.strategy_contract import StrategyContract
from search_spaces.c3d import GROUPS, PATTERNS, C3DSpace
from search_spaces.x3d import X3DSpace

SPACE = C3DSpace()
POINTS = tuple(PATTERNS)
ENDLESS = itertools.count()
WRITTEN, SUGGESTED, SAME, ORDER, TWICE, SEEDS, RESUMED, WORKERS, ENDS, REFUSED = (
    "test_it_can_be_written_out",
    "test_suggestions_are_networks_of_the_study",
    "test_the_same_trials_give_the_same_answer",
    "test_the_order_of_the_trials_says_nothing",
    "test_nothing_is_asked_for_twice",
    "test_the_seeds_of_a_network_come_together",
    "test_resumed_after_any_trial_it_trains_the_same",
    "test_workers_and_the_order_of_ends_change_nothing",
    "test_it_ends",
    "test_what_cannot_be_searched_is_refused",
)


@dataclass(frozen=True)
class Toy(Grid):
    """Keeps the contract: the named points, one after the other."""

    points: tuple[str, ...] = POINTS

    def networks(self, study) -> list[Suggestion]:
        return list(self._networks(study, len))


@dataclass(frozen=True)
class Changed(Toy):
    """Does with what the grid wants, or with what it has seen, what a test says."""

    how: str = ""

    def ask(self, study, trials, macs) -> list[Suggestion]:
        networks, seeds = self.networks(study), len(study.seeds)
        wanted = next_network(study, trials, networks)
        known = {(trial.architecture, trial.suggestion.seed) for trial in trials}
        missing = [
            replace(network, seed=seed)
            for network in networks
            for seed in study.seeds
            if (network.architecture, seed) not in known
        ]
        match self.how:
            case "other seed":
                return [] if trials else [replace(wish, seed=wish.seed + 99) for wish in wanted]
            case "too long":
                return [replace(wish, epochs=study.recipe.epochs + 1) for wish in wanted]
            case "no parent":
                return [replace(wish, parent=len(trials) + 5) for wish in wanted]
            case "other space":
                return next_network(study, trials, [replace(networks[0], architecture=X3DSpace().start)])
            case "nothing":
                return []
            case "raises":
                return [][len(trials)]
            case "moody":
                return wanted if next(ENDLESS) % 2 else missing
            case "takes away":
                return trials.clear() or wanted if isinstance(trials, list) and len(trials) == seeds else wanted
            case "last trial":
                order = networks if not trials or trials[-1].suggestion.seed else networks[::-1]
                return next_network(study, trials, order)
            case "repeats":
                return [replace(networks[0], seed=seed) for seed in study.seeds]
            case "doubles":
                return 2 * wanted
            case "running":
                return next_network(study, [trial for trial in trials if trial.state.ended], networks)
            case "seed by seed":
                return missing[:1]
            case "counts":
                skipped = networks[-(-len(trials) // seeds) :]
                return next_network(study, trials, skipped)
            case "impatient":
                training = any(not trial.state.ended for trial in trials)
                return next_network(study, trials, networks if training else networks[:3])
            case "endless":
                wider = SPACE.architecture(width=1 + (1 + len(trials) // seeds) / 64)
                return next_network(study, trials, [replace(networks[0], architecture=wider)])
        return wanted


@dataclass(frozen=True)
class Noted(Toy):
    note: object = None


class Unequal(Toy):
    """Not equal to its copy in another process."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__


BROKEN: dict[str, tuple[object, str, str]] = {
    "a field that is no plain value": (Noted(note=Path(".")), WRITTEN, "plain values"),
    "a copy that is another": (Unequal(), WRITTEN, "is another"),
    "a seed of its own": (Changed(how="other seed"), SUGGESTED, "is not in (0, 1)"),
    "more epochs than the recipe": (Changed(how="too long"), SUGGESTED, "epochs, of"),
    "a parent that is not there": (Changed(how="no parent"), SUGGESTED, "is no earlier trial"),
    "a network of another space": (Changed(how="other space"), SUGGESTED, "UsageError"),
    "nothing at all": (Changed(how="nothing"), SUGGESTED, "never asks for anything"),
    "an error of its own": (Changed(how="raises"), SAME, "IndexError"),
    "hidden state": (Changed(how="moody"), SAME, "asked twice with the same"),
    "trials taken away": (Changed(how="takes away"), SAME, "it changes the"),
    "a look at the last trial": (Changed(how="last trial"), ORDER, "in another order, and it wants"),
    "one network again and again": (Changed(how="repeats"), TWICE, "wants one of them again"),
    "one trial twice in an answer": (Changed(how="doubles"), TWICE, "wants one of them again"),
    "what is running": (Changed(how="running"), TWICE, "(running) it wants"),
    "one seed after the other": (Changed(how="seed by seed"), SEEDS, "are missing"),
    "a count of trials for a place": (Changed(how="counts"), RESUMED, "another search: without"),
    "a decision while others train": (Changed(how="impatient"), WORKERS, "another search"),
    "no end": (Changed(how="endless"), ENDS, "it does not end"),
}


def contract_of(strategy: object) -> StrategyContract:
    contract = StrategyContract()
    contract.study = Study("toy", SPACE, strategy, seeds=(0, 1))  # type: ignore[arg-type]
    contract.macs, contract.most = lambda architecture: 1_000_000, 60  # type: ignore[method-assign, assignment]
    return contract


class TestToy(StrategyContract):
    study = Study("toy", SPACE, Changed(), seeds=(0, 1))


@pytest.mark.parametrize("name", BROKEN)
def test_a_strategy_that_breaks_a_rule_is_told_which(name: str) -> None:
    strategy, rule, words = BROKEN[name]
    with pytest.raises(AssertionError, match=re.escape(words)):
        getattr(contract_of(strategy), rule)()


@pytest.mark.parametrize(
    ("strategy", "words", "told"),
    [
        (Changed(), "no such thing", "does not refuse with 'no such thing'"),
        (Changed(how="raises"), "no such thing", "IndexError"),
        (Grid(), "no such thing", "does not say 'no such thing'"),
    ],
)
def test_a_study_that_is_not_refused_in_words_is_told(strategy: object, words: str, told: str) -> None:
    contract = contract_of(Changed())
    contract.refused = {words: contract_of(strategy).study}
    with pytest.raises(AssertionError, match=told):
        getattr(contract, REFUSED)()


RULES = (SUGGESTED, SAME, ORDER, TWICE, SEEDS, RESUMED, WORKERS, ENDS)
GRIDS = some.lists(some.sampled_from(POINTS), min_size=1, max_size=4, unique=True).map(lambda names: Grid(tuple(names)))
SAMPLES = some.builds(
    Sampled, some.sampled_from(["qmc", "random"]), some.just(GROUPS), points=some.just(()), seed=some.integers(0, 9)
)
STEPS = some.builds(Stepwise, some.sampled_from([1.5, 2.0, 3.0]), some.just("solved"), axes=some.just(GROUPS[:2]))
BUDGETS = some.builds(
    Budget, steps=some.just(2), trials=some.integers(1, 9), epochs=some.none() | some.integers(12, 99)
)


@settings(max_examples=4)
@given(GRIDS | SAMPLES | STEPS, BUDGETS, some.lists(some.integers(0, 9), min_size=1, max_size=3, unique=True))
def test_any_strategy_of_ours_keeps_the_contract_under_any_budget(strategy, budget, seeds) -> None:
    contract = StrategyContract()
    contract.study = Study("any", SPACE, strategy, budget=budget, seeds=tuple(seeds))
    for rule in RULES:
        if rule != SUGGESTED:  # a budget may be too small for the first network
            getattr(contract, rule)()
