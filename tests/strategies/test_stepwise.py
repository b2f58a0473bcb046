"""Stepwise expansion on hand-made results: what it asks for, what it chooses, when it stops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import pytest

from expand.core.space import Architecture
from expand.core.study import Budget, Study
from expand.core.trial import Metrics, Suggestion, Trial, TrialState
from expand.counting.cost import cost_of
from expand.strategies.ledger import ledger
from expand.strategies.stepwise import Stepwise
from expand.testing.simulated_search import Outcome, ended, opened, simulate
from expand.testing.strategy_contract import StrategyContract
from search_spaces.x3d import X3DSpace

SPACE = X3DSpace()


def macs(architecture: Architecture) -> int:
    return cost_of(SPACE, architecture, 400).macs


def trial(number: int, suggestion: Suggestion, result: float | TrialState) -> Trial:
    return ended(opened(number, suggestion, macs(suggestion.architecture)), result)


def search(study: Study, outcome: Outcome) -> list[Trial]:
    return simulate(study, macs, outcome, most=200)


def study_of(strategy: Stepwise | None = None, budget: Budget | None = None, **fields) -> Study:
    return Study("test", SPACE, strategy or Stepwise(), budget=budget or Budget(steps=2), **fields)


def favour(*choices: str) -> Outcome:
    """Step k's candidate along choices[k - 1] is the best."""
    return lambda s: 0.1 + 0.05 * s.step + (0.04 if s.step and choices[s.step - 1] in s.axes else 0.0)


class TestSteps(StrategyContract):
    study = study_of(seeds=(0, 1))
    refused: ClassVar[dict[str, Study]] = {
        "not above the start's cost": study_of(budget=Budget(targets_gmacs=(0.02,))),
        "never end": study_of(budget=Budget(trials=5)),
        "did you mean 'frames'": study_of(Stepwise(axes=("framse",))),
        "solved, paper": study_of(Stepwise(growth="fast")),  # type: ignore[arg-type]
        "above 1": study_of(Stepwise(factor=1.0)),
        "rising order": study_of(budget=Budget(targets_gmacs=(5, 2))),
    }


class TestTargets(StrategyContract):
    study = study_of(Stepwise(growth="paper"), Budget(targets_gmacs=(0.028, 0.066)))


class TestStepsWithinTrials(StrategyContract):
    study = study_of(budget=Budget(steps=3, trials=21), seeds=(2, 0, 1))


class TestScreened(StrategyContract):
    study = study_of(Stepwise(screen=0.01), Budget(steps=4))
    learns = True
    refused: ClassVar[dict[str, Study]] = {"strategy.screen=-1": study_of(Stepwise(screen=-1.0))}


class TestScreenedRaces(StrategyContract):
    study = study_of(Stepwise(screen=0.01, race=0.01), Budget(steps=3), seeds=(0, 1, 2))
    learns = races = True


PUBLISHED = (
    "bottleneck", "frames", "resolution", "depth", "frames", "frames", "frames", "resolution", "resolution", "depth", "width",
)  # fmt: skip


def test_replaying_the_published_choices_gives_the_published_networks():
    paper = study_of(
        Stepwise(growth="paper", reach=0.89, overshoot=1.01), Budget(targets_gmacs=(0.6, 2.0, 5.0, 20.0, 40.0))
    )
    trials = search(paper, favour(*PUBLISHED))
    assert set(SPACE.points.values()) <= {t.architecture for t in trials}  # clips and strides too
    steps = ledger(trials)
    path = [s.entries[s.chosen] for s in steps if s.kind == "expand"]
    assert [entry.macs for entry in path] == [
        40_996_040, 80_209_520, 153_402_560, 303_559_712, 605_256_512, 1_208_650_112, 2_415_437_312, 4_732_468_736,
        9_451_559_360, 18_367_710_176, 35_837_627_616,
    ]  # fmt: skip
    contracted = [s.entries[0] for s in steps if s.kind == "contract"]
    assert [(entry.axes, entry.change, entry.macs) for entry in contracted] == [
        (("frames",), "frames 16→13, stride 5→6", 1_962_892_112)
    ]
    reached = {s.entries[s.chosen].macs for s in steps}
    assert {macs(SPACE.points[name]) for name in ("X2D", "XS", "S", "M", "L", "XL")} <= reached
    assert all(1.839 <= entry.ratio <= 2.22 for s in steps if s.kind == "expand" for entry in s.entries)


def test_the_first_step_has_five_distinct_candidates_and_starts_with_the_start():
    wanted = Stepwise().ask(study_of(), [], macs)
    assert [s.kind for s in wanted] == ["start"] + ["expand"] * 5
    assert wanted[1].axes == ("frame_rate", "frames")
    assert len({s.architecture for s in wanted}) == 6


def test_later_steps_grow_each_axis_alone_to_about_twice_the_cost():
    trials = search(study_of(), favour("frames", "depth"))
    for entry_step in ledger(trials)[1:]:
        base = entry_step.base
        assert base is not None
        for entry in entry_step.entries:
            assert 1.85 < entry.ratio < 2.15
            changed = {part.split()[0] for part in entry.change.split(", ")}
            assert changed <= ({"frames", "stride"} if entry.axes[0] in ("frames", "frame_rate") else {entry.axes[0]})
    assert len(ledger(trials)[2].entries) == 6


def test_a_step_too_small_or_too_large_is_not_on_offer():
    """From a single frame the next are two, at twice the cost: far more than a step of 2 %."""
    plain = study_of(Stepwise(factor=8.0), Budget(steps=1))
    wanted = [s for s in plain.strategy.ask(plain, [], macs) if s.kind == "expand"]
    ratios = [macs(s.architecture) / macs(SPACE.start) for s in wanted]
    assert ratios and all(8**0.5 <= ratio <= 8**1.5 for ratio in ratios)
    coarse = study_of(Stepwise(factor=1.02), Budget(steps=1))
    wanted = [s for s in coarse.strategy.ask(coarse, [], macs) if s.kind == "expand"]
    assert wanted and all(macs(s.architecture) / macs(SPACE.start) <= 1.02**1.5 for s in wanted)
    assert all("nearest reachable x" in s.reason and "frames (nearest" in s.reason for s in wanted)


def test_it_waits_for_every_candidate_of_a_step():
    plain = study_of()
    first = [trial(i, s, 0.5) for i, s in enumerate(plain.strategy.ask(plain, [], macs))]
    running = replace(first[3], state=TrialState.RUNNING, metrics=None)
    assert plain.strategy.ask(plain, [*first[:3], running, *first[4:]], macs) == []
    assert plain.strategy.ask(plain, first, macs) != []


def test_failed_infeasible_and_early_stopped_candidates_are_passed_over():
    def outcome(s: Suggestion) -> float | TrialState:
        return TrialState.FAILED if "frames" in s.axes else favour("frames", "depth")(s)

    steps = ledger(search(study_of(), outcome))
    assert all("frames" not in s.entries[s.chosen].axes for s in steps if s.kind == "expand")
    assert len(steps) == 3


def test_a_brilliant_early_stopped_candidate_is_not_chosen():
    plain = study_of()
    trials = [trial(i, s, 0.5 - i / 100) for i, s in enumerate(plain.strategy.ask(plain, [], macs))]
    trials[4] = replace(trials[4], state=TrialState.PRUNED, metrics=Metrics(0.99, 1, 0, 1000, 1))
    step = ledger(trials)[1]
    assert step.entries[3].top1 is None and step.chosen == 0


def test_it_ends_where_no_candidate_of_a_step_completes():
    trials = search(study_of(), lambda s: TrialState.FAILED if s.step == 1 else 0.5)
    assert len(trials) == 6
    assert "no candidate completed" in ledger(trials)[1].why


def test_of_equals_the_cheaper_one():
    steps = ledger(search(study_of(budget=Budget(steps=1)), lambda s: 0.5))
    step = steps[1]
    assert step.entries[step.chosen].macs == min(entry.macs for entry in step.entries)


def test_contraction_shrinks_only_the_last_axis_to_the_target():
    target = 0.066
    trials = search(study_of(budget=Budget(targets_gmacs=(target,))), favour("bottleneck", "resolution"))
    last = ledger(trials)[-1]
    assert last.kind == "contract" and last.entries[0].axes == ("resolution",)
    contracted = trials[-1].architecture
    grown = next(t for t in trials if t.suggestion.step == 2 and t.suggestion.axes == ("resolution",)).architecture
    assert {k for k, v in contracted.values if grown[k] != v} == {"resolution"}
    assert (
        macs(contracted)
        <= target * 1e9
        < macs(SPACE.architecture(**contracted.as_dict() | {"resolution": contracted["resolution"] + 4}))
    )


def test_several_seeds_are_averaged_and_their_spread_is_said():
    def accuracy(s: Suggestion) -> float:
        return {0: 0.5, 1: 0.6}[s.seed] + (0.1 if "depth" in s.axes else 0)

    trials = search(study_of(seeds=(0, 1), budget=Budget(steps=1)), accuracy)
    assert len(trials) == 12
    best = ledger(trials)[1].entries[ledger(trials)[1].chosen]
    assert best.axes == ("depth",) and best.top1 == pytest.approx(0.65)
    assert best.spread == pytest.approx(0.0707, abs=1e-4) and len(best.trial_numbers) == 2
    split = ((0.6 * 0.4 / 1000) ** 0.5 + (0.7 * 0.3 / 1000) ** 0.5) / 2
    assert best.standard_error == pytest.approx(math.hypot(split, best.spread / 2**0.5))


def test_a_candidate_that_failed_with_one_seed_is_not_chosen():
    def accuracy(s: Suggestion) -> float | TrialState:
        return (0.9 if s.seed == 0 else TrialState.FAILED) if "depth" in s.axes else 0.5

    step = ledger(search(study_of(seeds=(0, 1), budget=Budget(steps=1)), accuracy))[1]
    depth = next(entry for entry in step.entries if entry.axes == ("depth",))
    assert depth.top1 is None and step.entries[step.chosen].axes != ("depth",)


def test_a_step_waits_for_all_seeds_of_all_its_candidates():
    plain = study_of(seeds=(0, 1, 2))
    first = [trial(i, s, 0.5) for i, s in enumerate(plain.strategy.ask(plain, [], macs))]
    assert {t.suggestion.seed for t in first} == {0, 1, 2} and plain.strategy.ask(plain, first, macs) != []
    for last in [t for t in first if t.suggestion.seed == 2 and t.suggestion.kind == "expand"]:
        running = replace(last, state=TrialState.RUNNING, metrics=None)
        assert plain.strategy.ask(plain, [running if t is last else t for t in first], macs) == []
        others = [t for t in first if t is not last]
        (missing,) = plain.strategy.ask(plain, others, macs)
        assert (missing.architecture, missing.seed) == (last.architecture, 2)


def test_every_target_that_a_step_passes_is_contracted_to():
    """The first step goes from 0.02 to 0.04 GMACs."""
    targets = (0.028, 0.032, 0.036)
    trials = search(study_of(budget=Budget(targets_gmacs=targets)), favour("resolution"))
    contracted = [s for s in ledger(trials) if s.kind == "contract"]
    costs = [entry.macs / 1e9 for s in contracted for entry in s.entries]
    assert len(costs) == 3 and all(0.9 * t < cost <= t for cost, t in zip(costs, targets, strict=True))


def test_the_ledger_says_whether_a_margin_is_noise():
    close = ledger(search(study_of(budget=Budget(steps=1)), lambda s: 0.5 + 0.001 * ("depth" in s.axes)))[1]
    clear = ledger(search(study_of(budget=Budget(steps=1)), lambda s: 0.5 + 0.3 * ("depth" in s.axes)))[1]
    assert "within noise" in close.why and "beyond noise" in clear.why


def test_an_axis_at_its_end_is_left_out_and_named():
    short = Study("test", X3DSpace(stride=2, frames=2, longest_clip=4), Stepwise(), budget=Budget(steps=1))
    wanted: Sequence[Suggestion] = short.strategy.ask(short, [], macs)
    grown = [s for s in wanted if s.kind == "expand"]
    assert grown and all(s.architecture["frames"] <= 4 for s in grown)
    full = Study("test", X3DSpace(stride=1, frames=4, longest_clip=4), Stepwise(), budget=Budget(steps=1))
    wanted = full.strategy.ask(full, [], macs)
    assert all("frames" not in s.axes for s in wanted) and "frames (at its end)" in wanted[-1].reason


def by_depth(suggestion: Suggestion) -> float:
    """Deeper networks are better, and nothing else matters."""
    return 0.3 + 0.1 * math.log2(float(suggestion.architecture["depth"]))


def test_screening_trains_what_may_win_and_records_what_it_expects_of_the_rest():
    study = study_of(Stepwise(screen=0.01), Budget(steps=4))  # a fifth step finds the depth at its end
    trials = search(study, by_depth)
    every = search(replace(study, strategy=Stepwise()), by_depth)
    left_out = [trial for trial in trials if trial.suggestion.until == 0]
    assert left_out and len(trials) - len(left_out) < len(every)
    for each in left_out:
        assert each.state is TrialState.PRUNED and each.suggestion.predicted and "not trained" in each.suggestion.reason
        assert each.suggestion.predicted[0] < 0.3 + 0.1 * math.log2(float(each.architecture["depth"])) + 0.2
    chosen = [
        step.entries[step.chosen].axes for step in ledger(trials) if step.chosen is not None and step.kind == "expand"
    ]
    assert all("depth" in axes for axes in chosen[1:])  # the first step trains all of its candidates


def test_what_was_left_out_costs_no_budget():
    study = study_of(Stepwise(screen=0.01), Budget(steps=5))
    trials = search(study, by_depth)
    trained = sum(trial.suggestion.until != 0 for trial in trials)
    again = search(replace(study, budget=Budget(steps=5, trials=trained)), by_depth)
    assert [t.suggestion for t in again] == [t.suggestion for t in trials]
