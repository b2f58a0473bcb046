"""A search whose networks do not beat chance halts and says what to change."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import STUDIES

from expand.core.accuracy import binomial_tail
from expand.core.attempt import Epoch
from expand.core.trial import Cost, Metrics, Suggestion, Trial, TrialState
from expand.search.chance import Chance, can_tell, nothing_learned
from expand.storage.run_directory import open_for_reading
from search_spaces.x3d import X3DSpace

SPACE = X3DSpace()
CHANCE = Chance.of([0] * 22 + [1] * 12 + [2] * 10 + [3] * 9 + [4] * 7 + [5] * 5, 6, "expand tune s --data mine")


def trial(number: int, right: int, clips: int = 65, *, loss: float = 1.7, kind: str = "grid", **changes) -> Trial:
    suggestion = Suggestion(SPACE.architecture(frames=1 + number), 5, 0, kind=kind)
    metrics = Metrics(round(right / clips, 6), 1.0, 1.7, clips, 1)
    curve = (Epoch(5, loss, metrics.top1),)
    return replace(Trial(number, TrialState.COMPLETE, suggestion, Cost(1, 1, 1, 1, ()), metrics, curve), **changes)


def test_the_tail_of_a_binomial_by_hand():
    for right, clips, rate in ((3, 5, 0.25), (0, 5, 0.25), (5, 5, 0.5), (40, 160, 0.1)):
        exact = sum(math.comb(clips, k) * rate**k * (1 - rate) ** (clips - k) for k in range(right, clips + 1))
        assert binomial_tail(right, clips, rate) == pytest.approx(exact, rel=1e-9)
    assert 0.4 < binomial_tail(10_000, 20_000, 0.5) < 0.51 and binomial_tail(1, 5, 1.0) == 1.0


def test_chance_is_the_most_frequent_class():
    assert CHANCE.share == 22 / 65 and Chance.of([0, 1, 1], 3, "").share == 2 / 3
    assert Chance.of([], 4, "").share == 0.25 and Chance.of([0, 1], 1, "").share == 1.0


def test_three_networks_at_chance_halt_a_search_and_two_do_not():
    at_chance = [trial(0, 22), trial(1, 25), trial(2, 20)]
    assert nothing_learned(at_chance[:2], CHANCE) == ""
    said = nothing_learned(at_chance, CHANCE)
    assert (
        "none of the 3 networks trained so far beats chance: the best has 38.5 % top-1 on 65 validation clips" in said
    )
    assert (
        "most frequent class has 33.8 %" in said and "`expand tune s --data mine`" in said and "recipe.updates" in said
    )
    assert nothing_learned([*at_chance, trial(3, 33)], CHANCE) == ""  # beyond noise
    same = [replace(t, suggestion=at_chance[0].suggestion) for t in at_chance]  # one network with three seeds
    assert nothing_learned(same, CHANCE) == ""
    failed = replace(at_chance[2], state=TrialState.FAILED)
    assert nothing_learned([*at_chance[:2], failed], CHANCE) == ""


def test_the_more_trainings_the_more_a_good_one_must_stand_out():
    """31 of 65 are beyond one-sided noise among three (0.0125), not among ten."""
    few, many = ([trial(n, 22) for n in range(1, count)] for count in (3, 10))
    assert nothing_learned([*few, trial(0, 31)], CHANCE) == "" != nothing_learned([*many, trial(0, 31)], CHANCE)


def test_a_step_is_judged_once_all_its_candidates_have_ended():
    step = [trial(n, 20, kind="expand") for n in range(4)]
    running = replace(step[3], state=TrialState.RUNNING, metrics=None)
    assert nothing_learned([*step[:3], running], CHANCE) == "" != nothing_learned(step, CHANCE)
    independent = [trial(n, 20) for n in range(3)]
    assert nothing_learned([*independent, replace(running, suggestion=trial(3, 0).suggestion)], CHANCE) != ""


def test_few_clips_say_nothing():
    assert not can_tell(12, 1 / 3, 0.05 / 3) and can_tell(65, 22 / 65, 0.05 / 3) and can_tell(160, 0.1, 0.05 / 18)
    assert nothing_learned([trial(n, 4, 12) for n in range(3)], Chance.of([0, 1, 2] * 4, 3, "")) == ""


@pytest.mark.parametrize(("loss", "words"), [(1.75, "hardly learned"), (0.2, "by heart"), (1.2, "a part of")])
def test_the_training_loss_says_what_is_wrong(loss, words):
    assert words in nothing_learned([trial(n, 20, loss=loss) for n in range(3)], CHANCE)


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of equal noise: nothing can be learned. 30 validation clips each."""
    folder, random = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 30), ("test", 1)):
        for label in ("one", "two"):
            for index in range(count):
                place = folder / split / label / f"{index}.npy"
                place.parent.mkdir(parents=True, exist_ok=True)
                np.save(place, random.integers(0, 255, (6, 24, 24, 3), dtype=np.uint8))
    return folder


@pytest.mark.heavy
def test_a_real_run_halts_does_so_again_and_goes_on_by_force(noise, expand, tmp_path):
    command = ("run", STUDIES / "tiny.py", "--data", noise, "--out", "run", "--workers", 0, "--set", "data.fps=12")
    command += ("--set", "budget.steps=2", "--set", "recipe.epochs=1", "--set", "strategy.axes=frames,depth")
    trials = []
    for _ in range(2):
        result = expand(*command)
        assert result.returncode == 1, result.stderr
        assert "none of the 3 networks trained so far beats chance" in result.stderr and "hardly" in result.stderr
        assert f"expand tune {STUDIES / 'tiny.py'} --data {noise}" in result.stderr and "--force" in result.stderr
        trials.append(len(open_for_reading(tmp_path / "run").trials()))
    assert trials == [3, 3]
    forced = expand(*command, "--force")
    assert forced.returncode == 0 and len(open_for_reading(tmp_path / "run").trials()) > 3, forced.stderr
    assert "networks trained so far beats chance" in forced.stdout  # said, too, where it is not obeyed
