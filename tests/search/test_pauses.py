"""Trainings that pause and go on: as far as asked, from their checkpoint, with the digits of a training without a break."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny_runs import trials_of

import expand
from expand.core.study import Budget, Data, Objective, Recipe, Study
from expand.core.trial import TrialState
from expand.strategies.evolved import Evolved
from expand.strategies.fixed import Fixed
from expand.strategies.guided import Guided
from search_spaces.x3d import X3DSpace

SPACE = X3DSpace(frames=2, stride=2, resolution=16, width=0.2, depth=0.2)
FRONT = (
    Objective("top1", "maximize"),
    Objective("gmacs", "minimize", known_before_training=True, limit=0.0004),
)
SEARCHED = {"axes": ("frames", "bottleneck", "width"), "values": 3}


def study_of(strategy, **budget) -> Study:
    return Study(
        "pauses", SPACE, strategy, Recipe(epochs=8, batch_size=8, views=1), Data(cache_side=24),
        Budget(**budget), objectives=FRONT,
    )  # fmt: skip


def on(squares, study: Study) -> Study:
    return replace(study, data=replace(study.data, source=str(squares)))


GUIDED = study_of(Guided(pauses="always", first=3, **SEARCHED), gmac_epochs=0.002)


@pytest.fixture(scope="module")
def searched(squares, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pauses") / "run"
    expand.run(on(squares, GUIDED), out=folder, workers=0, quiet=True)
    return folder


def test_what_was_stopped_says_where_and_what_was_finished_has_all_epochs(searched):
    trials = trials_of(searched)
    finished = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    stopped = [trial for trial in trials if trial.state is TrialState.PRUNED]
    assert finished and stopped and len(finished) + len(stopped) == len(trials)
    assert all(len(trial.curve) == 8 for trial in finished)
    for trial in stopped:
        assert len(trial.curve) == trial.suggestion.until < 8 and trial.metrics is None
        assert trial.error == f"stopped after epoch {len(trial.curve)} of 8: others promised more"


def test_the_budget_is_held(searched):
    assert sum(trial.cost.gmacs * trial.reached for trial in trials_of(searched)) <= 0.002


def test_pausing_changes_no_digit(searched, squares, tmp_path):
    """A training in segments is the same training: the schedule has its whole length from the start."""
    paused = next(t for t in trials_of(searched) if t.state is TrialState.COMPLETE and t.attempts > 1)
    whole = replace(GUIDED, strategy=Fixed(paused.architecture.to_json(), "whole"))
    expand.run(on(squares, whole), out=tmp_path / "run", workers=0, quiet=True)
    (straight,) = trials_of(tmp_path / "run")
    assert [(e.loss, e.top1, e.learning_rate) for e in straight.curve] == [
        (e.loss, e.top1, e.learning_rate) for e in paused.curve
    ]
    assert straight.metrics == paused.metrics


def test_only_finished_networks_are_on_the_front_and_no_checkpoint_is_left(searched):
    front = expand.open_run(searched).front()
    finished = {trial.number for trial in trials_of(searched) if trial.state is TrialState.COMPLETE}
    assert len(front) and {number for numbers in front["trials"] for number in map(int, numbers.split())} <= finished
    assert not list((searched / "checkpoints").glob("*"))


def test_every_suggestion_is_what_the_strategy_says_of_the_trials_before_it(searched):
    """A killed driver loses nothing: what it asked for follows from the record."""
    trials = trials_of(searched)
    assert [trial.suggestion.seen is not None for trial in trials] == [True] * len(trials)
    assert any(trial.suggestion.predicted for trial in trials)


def test_a_search_interrupted_while_trials_are_paused_goes_on(squares, tmp_path, searched, monkeypatch):
    from expand.core.signals import Interrupted
    from expand.search.engine import Search

    ended = Search.on_end
    count = 0

    def interrupting(self, number, outcome):
        nonlocal count
        ended(self, number, outcome)
        count += 1
        if count in (2, 5):
            raise Interrupted(15)

    monkeypatch.setattr(Search, "on_end", interrupting)
    for _ in range(2):
        with pytest.raises(Interrupted):
            expand.run(on(squares, GUIDED), out=tmp_path / "run", workers=0, quiet=True)
        assert any(trial.state is TrialState.PAUSED for trial in trials_of(tmp_path / "run"))
    expand.run(on(squares, GUIDED), out=tmp_path / "run", workers=0, quiet=True)

    def outcome(run):
        return [(t.architecture, t.state, t.suggestion.until, [e.top1 for e in t.curve]) for t in trials_of(run)]

    assert outcome(tmp_path / "run") == outcome(searched)


@pytest.mark.heavy
@pytest.mark.ray
@pytest.mark.timeout(300)
@pytest.mark.parametrize("strategy", [Guided(pauses="always", first=3, **SEARCHED), Evolved(first=3, **SEARCHED)])
def test_on_ray_two_workers_share_a_search_that_learns(squares, tmp_path, strategy):
    study = study_of(strategy, gmac_epochs=0.002)
    expand.run(on(squares, study), out=tmp_path / "run", workers=2, quiet=True)
    trials = trials_of(tmp_path / "run")
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert any(trial.state is TrialState.COMPLETE for trial in trials)
    assert len({trial.architecture for trial in trials}) == len(trials)
