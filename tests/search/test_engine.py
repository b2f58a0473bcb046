"""The engine without any training: what is opened, in which order, and what a job holds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from conftest import STUDIES
from rich.console import Console
from tiny_records import facts_of

from expand.config.loading import load_study
from expand.config.overrides import override
from expand.core.attempt import Epoch
from expand.core.outcome import Completed
from expand.core.study import Study
from expand.core.trial import Metrics, TrialState
from expand.counting.cost import MacsCounter
from expand.monitoring.dashboard.presenter import Presenter
from expand.monitoring.progress import PlainLines
from expand.report.run_report import run_facts
from expand.search.engine import Search
from expand.storage.run_directory import open_for_writing

METRICS = Metrics(0.5, 1.0, 1.0, 12, 1)


def tiny(*settings: str) -> Study:
    return override(load_study(str(STUDIES / "tiny.py")), settings)


@contextlib.contextmanager
def searching(folder: Path, study: Study) -> Iterator[Search]:
    with open_for_writing(folder, facts_of(study), study) as record:
        watch = PlainLines(Console(quiet=True))
        show = Presenter(record, lambda: run_facts(record), watch.note)
        yield Search(study, record, MacsCounter(study.space, 3), ("train", "val"), [], 3, watch, show, at_once=6)


def ended(search: Search, number: int, seconds: float) -> None:
    search.on_end(number, Completed(METRICS, train_seconds=seconds))


def test_a_job_is_the_suggestion_with_its_seed_and_places(tmp_path):
    study = tiny("seeds=4,7", "budget.minutes_per_trial=2", 'data.mirrored=[["a", "b"]]')
    with searching(tmp_path, study) as search:
        jobs = [search.next() for _ in range(6)]
        assert search.next() is None and not search.done
        for job in jobs:
            wanted = search.record.trial(job.number).suggestion
            assert (job.architecture, job.seed, job.epochs) == (wanted.architecture, wanted.seed, study.recipe.epochs)
            assert (job.train_cache, job.val_cache, job.threads, job.seconds) == ("train", "val", 3, 120)
            assert job.checkpoint == str(search.record.checkpoint(job.number)) and job.mirrored == (("a", "b"),)
            assert job.weights == str(search.record.weights(job.number))
        assert sorted(job.seed for job in jobs) == [4, 4, 4, 7, 7, 7]
        assert len({(job.architecture, job.seed) for job in jobs}) == 6


def test_the_longest_candidate_of_a_step_is_first(tmp_path):
    """By what the last candidate along its axis took: at first nothing is known, and activations decide."""
    took = {"bottleneck": 4.0, "depth": 1.0, "resolution": 9.0}
    with searching(tmp_path, tiny("strategy.axes=bottleneck,depth,resolution")) as search:
        first = [search.record.trial(search.next().number) for _ in range(4)]
        sizes = [trial.cost.activations for trial in first]
        assert sizes == sorted(sizes, reverse=True) and search.next() is None
        for trial in first:
            ended(search, trial.number, took.get("".join(trial.suggestion.axes), 2.0))
        second = []
        while (job := search.next()) is not None:
            second.append(took["".join(search.record.trial(job.number).suggestion.axes)])
        assert len(second) > 1 and second == sorted(second, reverse=True) and 9.0 in second


def test_what_an_earlier_driver_left_running_is_queued_again(tmp_path):
    with searching(tmp_path, tiny()) as search:
        numbers = [search.next().number for _ in range(3)]
        ended(search, numbers[0], 1.0)
    with searching(tmp_path, tiny()) as search:
        assert sorted(search.next().number for _ in range(2)) == sorted(numbers[1:]) and search.next() is None


def test_an_epoch_that_is_trained_again_replaces_what_was_recorded_of_it(tmp_path):
    with searching(tmp_path, tiny()) as search:
        number = search.next().number
        for epoch, loss in (
            (1, 3.0),
            (2, 2.0),
            (2, 1.0),
        ):  # a worker died after epoch 2, and its checkpoint was of epoch 1
            search.on_epoch(number, Epoch(epoch, loss, 0.5, seconds=1.0))
        assert [(e.epoch, e.loss) for e in search.record.trial(number).curve] == [(1, 3.0), (2, 1.0)]


def test_a_candidate_that_cannot_be_counted_fails_and_the_others_are_trained(tmp_path):
    class Broken(MacsCounter):
        def cost(self, architecture):
            if architecture["frames"] > 2:
                raise ArithmeticError("cannot be counted")
            return super().cost(architecture)

    with searching(tmp_path, tiny("budget.steps=0")) as search:
        search.macs = Broken(search.macs.space, 3)
        start = search.study.strategy.ask(search.study, (), search.macs)[0]
        wide = replace(start, architecture=search.study.space.architecture(frames=4))
        assert search._open(wide) is None and search._open(start) == 1
        trial = search.record.trial(0)
        assert trial.state is TrialState.FAILED and trial.error == "ArithmeticError: cannot be counted"


def test_a_limit_costs_no_training_and_a_budget_ends_the_asking(tmp_path):
    with searching(tmp_path / "limit", tiny("objectives.gmacs.limit=0.0000001")) as search:
        assert search.next() is None and search.done
        assert {trial.state for trial in search.record.trials()} == {TrialState.INFEASIBLE}
    with searching(tmp_path / "budget", tiny("budget.trials=2")) as search:
        assert [search.next() is None for _ in range(3)] == [False, False, True]
        assert len(search.record.trials()) == 2
