"""Reports of a race, whose networks have different numbers of seeds."""

from __future__ import annotations

from expand.core.study import Objective
from expand.core.trial import RaceSeeds, Suggestion, Trial, TrialState
from expand.report.candidates import RunFacts, candidates, front
from expand.report.significance import compare
from expand.testing.simulated_search import ended, opened
from search_spaces.x3d import X3DSpace

SPACE = X3DSpace()
OBJECTIVES = (Objective("top1", "maximize"), Objective("gmacs", "minimize", known_before_training=True))
SEEDS = RaceSeeds((0, 1, 2))


def trial(number: int, width: float, seed: int, result: float | TrialState) -> Trial:
    network = SPACE.architecture(**SPACE.start.as_dict() | {"width": width})
    return ended(opened(number, Suggestion(network, 4, seed), int(1e6 * width)), result)


TRIALS = [
    trial(0, 0.5, 0, 0.4), trial(1, 0.77, 0, 0.6), trial(2, 0.77, 1, 0.8), trial(3, 0.95, 0, 0.5),
    trial(4, 1.22, 1, 0.9),
]  # fmt: skip


def test_one_seed_is_enough_to_be_on_the_front_and_all_seeds_count():
    found = candidates(TRIALS, SEEDS)
    assert [each.state for each in found[:3]] == [TrialState.COMPLETE] * 3
    assert found[1].top1 is not None and abs(found[1].top1 - 0.7) < 1e-12 and found[0].spread is None
    assert found[3].state is not TrialState.COMPLETE  # without the first seed
    assert [each.numbers for each in front(found, OBJECTIVES)] == [(0,), (1, 2)]
    assert candidates(TRIALS, tuple(SEEDS))[1].state is not TrialState.COMPLETE


def test_the_captions_say_so_and_nothing_is_compared_pairwise():
    facts = RunFacts("x", "demo", "clips", 4, 1, 100, SEEDS)
    assert "seed 0, and 1, 2 where a choice was open" in facts.training and "with one seed" in facts.noise
    assert compare(candidates(TRIALS, SEEDS), TRIALS, SEEDS) is None
