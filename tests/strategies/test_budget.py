"""Budgets in trials, epochs and hours: what may begin, what is finished, what is said."""

from __future__ import annotations

import pytest

from expand.core.study import Budget, Recipe, Study
from expand.core.trial import Suggestion, TrialState
from expand.strategies.budget import affordable
from expand.strategies.grid import Grid
from expand.strategies.sampled import Sampled
from expand.testing.simulated_search import ended, free, opened, simulate
from search_spaces.c3d import GROUPS, PATTERNS, C3DSpace

SPACE = C3DSpace()


def study(budget: Budget, seeds=(0, 1, 2), strategy=None) -> Study:
    grid = strategy or Grid(points=tuple(PATTERNS))
    return Study("test", SPACE, grid, budget=budget, recipe=Recipe(epochs=10), seeds=seeds)


def suggestions(name: str, *seeds: int) -> list[Suggestion]:
    return [Suggestion(SPACE.point(name), 10, seed, kind="grid", name=name) for seed in seeds]


def names(suggestions: list[Suggestion]) -> list[tuple[str, int]]:
    return [(s.name, s.seed) for s in suggestions]


@pytest.mark.parametrize(
    ("budget", "count"),
    [
        (Budget(), 18), (Budget(trials=18), 18), (Budget(trials=17), 15), (Budget(trials=6), 6), (Budget(trials=8), 6),
        (Budget(trials=2), 0), (Budget(epochs=60), 6), (Budget(epochs=89), 6), (Budget(epochs=90), 9), (Budget(epochs=29), 0),
        (Budget(trials=9, epochs=60), 6), (Budget(trials=3, epochs=999), 3),
    ],
)  # fmt: skip
@pytest.mark.parametrize("sampled", [False, True])
def test_networks_begin_whole_or_not_at_all(budget: Budget, count: int, sampled: bool) -> None:
    if sampled and budget == Budget():
        return  # refused
    strategy = Sampled("random", GROUPS) if sampled else Grid(points=tuple(PATTERNS))
    trials = simulate(study(budget, strategy=strategy))
    assert len(trials) == count
    assert all(len([t for t in trials if t.architecture == each.architecture]) == 3 for each in trials)


def test_the_sentence_says_what_is_used_up_and_when() -> None:
    allowed, said = affordable(
        study(Budget(trials=4)), (), suggestions("depth-1", 0, 1, 2) + suggestions("depth-3", 0, 1, 2)
    )
    assert names(allowed) == [("depth-1", 0), ("depth-1", 1), ("depth-1", 2)]
    assert said == "budget.trials=4 is used up after 3 trials"
    both = affordable(study(Budget(trials=1, epochs=9)), (), suggestions("depth-1", 0, 1, 2))
    assert both == ([], "budget.trials=1, budget.epochs=9 is used up after 0 trials")
    assert affordable(study(Budget(trials=3)), (), suggestions("depth-1", 0, 1, 2))[1] == ""
    assert affordable(study(Budget(trials=1)), (), []) == ([], "")


def test_what_has_begun_is_finished_before_others_begin() -> None:
    """After a kill: of one network a seed is there, and the others' first seeds come before its last ones in the answer."""
    one, other = (suggestions(name, 0, 1, 2) for name in ("depth-1", "depth-3"))
    allowed, said = affordable(study(Budget(trials=3)), [opened(0, one[0])], [*other, *one[1:]])
    assert names(allowed) == [("depth-1", 1), ("depth-1", 2)] and said


def test_what_has_begun_is_finished_even_over_the_budget() -> None:
    """A run that was started with a larger budget, or whose seeds grew."""
    first = [ended(opened(0, suggestions("depth-1", 0)[0]), 0.5)]
    for budget in (Budget(trials=1), Budget(epochs=10), Budget(hours=0.0001)):
        allowed, said = affordable(study(budget), first, suggestions("depth-1", 1, 2))
        assert names(allowed) == [("depth-1", 1), ("depth-1", 2)] and not said
    allowed, said = affordable(study(Budget(trials=1)), first, suggestions("depth-1", 1, 2) + suggestions("depth-3", 0))
    assert names(allowed) == [("depth-1", 1), ("depth-1", 2)] and "budget.trials=1 is used up after 3 trials" in said


def test_hours_are_added_up_over_trials() -> None:
    limited = study(Budget(hours=1), seeds=(0,))
    assert len(simulate(limited, seconds=1200)) == 3  # three times twenty minutes
    assert len(simulate(limited, seconds=1000)) == 4  # begun before the hour was over, and finished
    assert len(simulate(limited, seconds=1)) == 6


def test_a_candidate_over_a_limit_costs_nothing() -> None:
    over = [ended(opened(0, s), TrialState.INFEASIBLE, seconds=9999) for s in suggestions("depth-7", 0, 1, 2)]
    allowed, said = affordable(study(Budget(trials=3, epochs=30, hours=1)), over, suggestions("depth-1", 0, 1, 2))
    assert len(allowed) == 3 and not said


@pytest.mark.parametrize("state", [TrialState.FAILED, TrialState.RUNNING, TrialState.PRUNED, TrialState.COMPLETE])
def test_every_other_candidate_counts(state: TrialState) -> None:
    begun = [ended(opened(i, s), state) for i, s in enumerate(suggestions("depth-7", 0, 1, 2))]
    allowed, said = affordable(study(Budget(trials=5)), begun, suggestions("depth-1", 0, 1, 2))
    assert not allowed and said == "budget.trials=5 is used up after 3 trials"


def test_a_resumed_search_spends_what_is_left() -> None:
    limited = study(Budget(trials=7))
    whole = simulate(limited)
    for count in range(len(whole)):
        assert len(simulate(limited, free, known=whole[:count])) == len(whole) == 6
