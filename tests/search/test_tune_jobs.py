"""The engine's jobs as Tune gets them, without Ray: what is given, what comes back, and what fails on the driver's side."""

from __future__ import annotations

import json
import time

import pytest
from test_engine import METRICS, searching, tiny

from expand.core.attempt import Epoch
from expand.core.outcome import Completed
from expand.core.trial import TrialState
from expand.search.faults import WAITS
from expand.search.tune_jobs import TuneJobs
from expand.search.watchdog import Abandoned, Watched
from expand.storage.serialize import outcome_to_text, to_plain


@pytest.fixture
def search(tmp_path):
    with searching(tmp_path, tiny("budget.steps=0")) as search:
        yield search


def nowhere_else(job, busy) -> list[str]:
    return []


def test_epochs_and_the_outcome_of_a_job_reach_its_trial(search):
    jobs = TuneJobs(Watched(search), nowhere_else)
    job, avoid = jobs.take("t1")
    assert avoid == [] and jobs.take("t2") is None and not jobs.finished
    jobs.report("t1", {"node": "n"})
    jobs.report("t1", {"entry": json.dumps(to_plain(Epoch(1, 2.0, 0.5)))})
    assert search.record.trial(job.number).curve == (Epoch(1, 2.0, 0.5),)
    jobs.report("t1", {"outcome": outcome_to_text(Completed(METRICS))})
    jobs.ended("t1", None)
    assert search.record.trial(job.number).state is TrialState.COMPLETE
    assert jobs.take("t3") is None and jobs.finished and jobs.error is None


def test_a_worker_that_died_is_tried_again_with_the_reason_and_its_node(search):
    jobs = TuneJobs(Watched(search), nowhere_else)
    job, _ = jobs.take("t1")
    jobs.report("t1", {"node": "n"})
    jobs.reasons["t1"] = "The worker died due to SIGKILL"
    jobs.ended("t1", {})
    (retry,) = search.record.trial(job.number).retries
    assert retry.node == "n" and "due to SIGKILL" in retry.error and search.queue == [job.number]


def test_a_job_waits_while_every_other_node_is_full(search):
    jobs = TuneJobs(Watched(search), nowhere_else)
    job, _ = jobs.take("t1")
    jobs.ended("t1", {})
    time.sleep(WAITS[0])
    seen = []
    jobs.avoid = lambda job, busy: seen.append(job.number)
    assert jobs.take("t2") is None and seen == [job.number] and not jobs.finished
    assert search.queue == [job.number] and not search.running


def test_what_fails_on_the_drivers_side_ends_tune_and_is_kept(search):
    jobs = TuneJobs(Watched(search), nowhere_else)
    jobs.take("t1")
    jobs.report("t1", {"entry": "{}"})  # no epoch
    assert isinstance(jobs.error, ValueError)
    assert jobs.take("t2") is None and jobs.finished


def test_nothing_is_recorded_once_the_driver_has_given_up(search):
    watched = Watched(search)
    jobs = TuneJobs(watched, nowhere_else)
    job, _ = jobs.take("t1")
    watched.abandon()
    with pytest.raises(Abandoned):
        jobs.report("t1", {"outcome": outcome_to_text(Completed(METRICS))})
    assert search.record.trial(job.number).state is TrialState.RUNNING
