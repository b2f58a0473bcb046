"""Random and quasi-random search on hand-made results: what is drawn, how often, and how it ends."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest

from expand.core.space import Architecture
from expand.core.study import Budget, Study
from expand.strategies.sampled import Sampled
from expand.testing.simulated_search import simulate
from expand.testing.strategy_contract import StrategyContract
from search_spaces.c3d import GROUPS, C3DSpace
from search_spaces.mixed_conv import MixedConvSpace
from search_spaces.x3d import X3DSpace

SPACE = C3DSpace()
SAMPLERS = ("qmc", "random")


def study_of(strategy: Sampled, trials: int | None = 12, space=SPACE, seeds=(0,)) -> Study:
    return Study("test", space, strategy, budget=Budget(trials=trials), seeds=seeds)


def drawn(strategy: Sampled, trials: int = 12, space=SPACE) -> list[Architecture]:
    return [trial.architecture for trial in simulate(study_of(strategy, trials, space))]


class TestQuasiRandom(StrategyContract):
    study = study_of(Sampled("qmc", GROUPS, points=("depth-3",)), 12, seeds=(0, 1))
    refused: ClassVar[dict[str, Study]] = {
        "name the axes": study_of(Sampled()),
        "allowed are qmc, random": study_of(Sampled("sobol", GROUPS)),  # type: ignore[arg-type]
        "did you mean 'conv": study_of(Sampled(axes=("conv9",))),
        "no list of values": study_of(Sampled(axes=("frame_rate",))),
        "did you mean 'depth-": study_of(Sampled(axes=GROUPS, points=("depth-9",))),
        "width has no value from 5 to 6": study_of(Sampled(axes=("width",), within=(("width", 5, 6),))),
        "width is not among strategy.axes": study_of(Sampled(axes=("conv1",), within=(("width", 0.1, 1),))),
        "would never end": study_of(Sampled(axes=GROUPS), None),
    }


@pytest.mark.heavy
class TestRandom(StrategyContract):
    study = study_of(Sampled("random", ("time", "conv3", "conv4")), 8, MixedConvSpace(), (3, 1))


@pytest.mark.heavy
class TestRandomWithinEpochs(StrategyContract):
    study = replace(study_of(Sampled("random", GROUPS), None, seeds=(0, 1, 2)), budget=Budget(epochs=100))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_draws_are_distinct_reproducible_and_depend_on_the_seed_alone(sampler) -> None:
    from expand.strategies.sampled import _draws

    first = drawn(Sampled(sampler, GROUPS))
    assert len(set(first)) == 12
    _draws.cache_clear()  # as in another process
    assert drawn(Sampled(sampler, GROUPS)) == first
    assert drawn(Sampled(sampler, GROUPS), 20)[:12] == first
    assert drawn(Sampled(sampler, GROUPS, seed=1)) != first


def test_the_samplers_differ_and_a_sobol_sequence_covers_evenly() -> None:
    quasi, random = (drawn(Sampled(sampler, GROUPS), 64) for sampler in SAMPLERS)
    assert quasi != random
    for group in GROUPS:
        counts = [sum(a[f"{group}_depth"] == depth for a in quasi) for depth in (1, 3, 5, 7)]
        assert min(counts) >= 12 and max(counts) <= 20, f"{group}: {counts}"


def test_points_come_first_and_are_not_drawn_again() -> None:
    names = ("depth-7", "depth-1")
    trials = simulate(study_of(Sampled("random", ("conv1", "conv2"), points=names), 10))
    assert [t.suggestion.name for t in trials[:2]] == list(names)
    assert all(t.suggestion.kind == "sample" for t in trials)
    assert len({t.architecture for t in trials}) == 10


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_small_space_is_drawn_whole_and_then_it_ends(sampler) -> None:
    assert len(set(drawn(Sampled(sampler, ("conv1", "conv2")), 99))) == 16


def test_within_narrows_axes_of_numbers() -> None:
    within = (("width", 0.1, 0.2), ("frames", 12, 14))
    networks = drawn(Sampled("qmc", ("width", "frames", "conv1"), within=within), 30)
    assert {a["frames"] for a in networks} == {12, 13, 14}
    assert all(0.099 < a["width"] < 0.201 for a in networks) and len({a["width"] for a in networks}) > 10


def test_values_that_do_not_go_together_are_passed_over() -> None:
    networks = drawn(Sampled("random", ("time", "conv3", "conv4")), 40, MixedConvSpace())
    stacked = [a for a in networks if a["time"] == "stacked"]
    assert len(networks) == 10 and len(stacked) == 1


def test_x3d_is_drawn_too() -> None:
    within = (("width", 0.5, 2.0), ("depth", 0.5, 3.0), ("bottleneck", 1.0, 3.0))
    networks = drawn(Sampled("qmc", ("width", "depth", "bottleneck"), within=within), 8, X3DSpace())
    assert len(set(networks)) == 8 and all(a["frames"] == 1 for a in networks)


def test_any_budget_ends_it() -> None:
    for budget in (Budget(trials=3), Budget(epochs=30), Budget(hours=0.1)):
        limited = replace(study_of(Sampled(axes=GROUPS)), budget=budget)
        assert simulate(limited, seconds=100)
