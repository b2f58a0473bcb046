"""A candidate that hangs ends as failed and gives its place back."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from conftest import ROOT, STUDIES
from rich.console import Console

from expand.config.request import Request
from expand.core.time_limit import Alarm, TimedOut, ends_process, stack
from expand.monitoring.progress import PlainLines
from expand.search.run import run
from expand.search.worker_plan import Workers
from expand.storage.run_directory import open_for_reading

FAULTY = STUDIES / "faulty.py"
HANGING = {"EXPAND_TEST_FAULT": "hang", "EXPAND_TEST_FLAG": "-"}


def test_an_alarm_ends_what_sleeps_and_comes_again_where_it_was_taken_in():
    with pytest.raises(TimedOut, match=r"timeout after 0\.001 minutes \(budget.minutes_per_trial\)"), Alarm(0.06):
        try:
            time.sleep(60)
        except TimedOut:
            time.sleep(60)
    time.sleep(0)  # nothing is left to ring


def test_an_alarm_waits_for_what_must_be_whole():
    done = []
    with pytest.raises(TimedOut), Alarm(0.05) as alarm:
        with alarm.held_back():
            time.sleep(0.2)
            done.append("written")
        time.sleep(60)
    assert done == ["written"]


def test_without_a_limit_nothing_is_armed(tmp_path):
    with Alarm(None), ends_process(None, tmp_path / "log"):
        pass
    assert stack(tmp_path / "log") == "" and not list(tmp_path.iterdir())


def test_a_process_is_ended_even_where_python_never_runs_again(tmp_path):
    """The main thread holds the interpreter's lock in native code, as a hanging decoder may."""
    code = f"""
import ctypes
from pathlib import Path
from expand.core.time_limit import ends_process
with ends_process(5, Path({str(tmp_path)!r}) / "quick.txt"):
    pass
with ends_process(0.3, Path({str(tmp_path)!r}) / "timeout.txt"):
    ctypes.PyDLL(None).sleep(60)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=50)
    assert done.returncode == 1
    assert "Timeout" in stack(tmp_path / "timeout.txt") and "line 8" in stack(tmp_path / "timeout.txt")
    assert not (tmp_path / "quick.txt").exists()


def test_a_hanging_candidate_fails_and_the_search_goes_on(squares, tmp_path, monkeypatch):
    for name, value in HANGING.items():
        monkeypatch.setenv(name, value)
    request = Request(str(FAULTY), settings=("budget.minutes_per_trial=0.04",), data=str(squares))
    trials = run(request, tmp_path / "run", Workers(0, 1), PlainLines(Console(quiet=True))).trials()
    hung = next(trial for trial in trials if trial.architecture["frames"] > 2)
    assert hung.state == "failed" and "timeout after 0.04 minutes" in hung.error and "time.sleep" in hung.traceback
    assert len(trials) == 3 and all(trial.state.ended for trial in trials)


@pytest.mark.heavy
@pytest.mark.ray
@pytest.mark.parametrize("attempts", [1, 3])
def test_a_hanging_candidate_on_ray_is_tried_once_and_its_worker_comes_back(expand, squares, tmp_path, attempts):
    settings = ("--set", "budget.minutes_per_trial=0.2", "--set", f"budget.attempts={attempts}")
    done = expand(
        "run", FAULTY, "--data", squares, "--workers", 1, "--out", "run", *settings, timeout=220, **HANGING
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    hung = states(tmp_path / "run", "timeout after 0.2 minutes")
    assert "faulty.py" in hung.traceback  # where it hung
    assert not list((tmp_path / "run" / "checkpoints").rglob("timeout.txt"))


def states(run, words):
    """One trial failed with these words, the others complete; the failed one."""
    trials = open_for_reading(run).trials()
    assert sorted(trial.state for trial in trials) == ["complete", "complete", "failed"]
    failed = next(trial for trial in trials if trial.state == "failed")
    assert words in failed.error
    return failed
