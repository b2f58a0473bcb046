"""Whole searches on tiny clips: in this process, through Ray, killed, faulty, resumed. Everything goes through the command
line, as a user's would."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import psutil
import pytest
from rich.console import Console
from tiny_records import facts_of
from tiny_runs import FAULTY, TINY, outcome, start, trials_of

from expand.config.loading import load_study
from expand.config.overrides import override
from expand.config.request import Request
from expand.core.errors import ExpandError, UsageError
from expand.core.trial import Cost, Suggestion
from expand.counting.cost import MacsCounter
from expand.export.bundle import export_run
from expand.monitoring.dashboard.presenter import Presenter
from expand.monitoring.progress import PlainLines
from expand.report.choosing import Choice, choose
from expand.report.run_report import run_facts
from expand.search.engine import Search
from expand.search.run import run
from expand.search.worker_plan import Workers
from expand.storage.run_directory import open_for_reading, open_for_writing


@pytest.fixture(scope="module")
def whole(squares, tmp_path_factory) -> Path:
    """The folder of an unbroken search, which tests copy or compare with."""
    folder = tmp_path_factory.mktemp("whole")
    done = start(squares, folder, "--workers", "0")
    assert done.wait(timeout=120) == 0, done.stderr
    assert "Pareto front of tiny" in done.stdout and "chosen" in done.stdout and "MACs" in done.stdout
    return folder / "run"


def test_a_search_in_this_process_from_start_to_export(expand, squares, tmp_path, whole):
    shutil.copytree(whole, tmp_path / "run")
    trials = outcome(tmp_path / "run")
    assert [t[1] for t in trials] == ["complete"] * len(trials) and {t[2] for t in trials} == {0, 1, 2}
    for name in ("front.csv", "trials.csv", "front.png", "front.svg", "ledger.md", "ledger.json"):
        assert (tmp_path / "run" / "report" / name).stat().st_size > 0
    assert not list((tmp_path / "run" / "checkpoints").rglob("*.pt"))

    again = expand("run", TINY, "--data", squares, "--workers", 0, "--out", "run")
    assert again.returncode == 0 and "epoch 1/" not in again.stdout
    assert outcome(tmp_path / "run") == trials

    taken = expand("export", "run", "--best", "top1", "--to", "network")
    assert taken.returncode == 0, taken.stderr
    about = json.loads((tmp_path / "network" / "architecture.json").read_text())
    assert about["accuracy"]["validation_top1"] == max(t[6] for t in trials)
    assert "expand test RUN --trial" in about["accuracy"]["test"] and about["classes"] == [
        "at rest",
        "to the left",
        "to the right",
    ]
    assert about["cost"]["macs"] in [t[5].macs for t in trials]
    cheapest = min(t[5].macs for t in trials)
    refused = expand("export", "run", "--under", "gmacs=0.0000001", "--to", "nowhere")
    assert refused.returncode == 2 and "no complete trial" in refused.stderr and not (tmp_path / "nowhere").exists()
    record = open_for_reading(tmp_path / "run")
    assert choose(record, Choice(under=f"gmacs={(cheapest + 1) / 1e9}")).cost.macs == cheapest
    for wrong, words in (
        ({"trial": 99}, "trial 99"), ({}, "say which"), ({"best": "top9"}, "top1"), ({"under": "gmac=1"}, "did you mean 'gmacs'"),
        ({"best": "top1", "trial": 0}, "say which"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            choose(record, Choice(**wrong))
    with pytest.raises(UsageError, match=f"the cheapest is trial [0-9]+ with gmacs={cheapest / 1e9:.4g}"):
        choose(record, Choice(under="gmacs=0.0000001"))

    whole = Choice(all_front=True)
    export_run(tmp_path / "run", tmp_path / "front", whole)
    index = list(csv.DictReader((tmp_path / "front" / "front.csv").open()))
    assert [int(row["trial"]) for row in index] == [trial.number for trial in whole.trials(record)]
    card = (tmp_path / "front" / index[-1]["folder"] / "README.md").read_text()
    last = record.trial(int(index[-1]["trial"]))
    for told in (
        f"{last.cost.macs:,} per clip", f"frames | {last.architecture['frames']} |", "24 training videos, 12 validation videos",
        "2 epochs, seed 0", f"| 0 | 0 | start | {trials[0][4]} |", "12 frames per second", "A demo: 2 epochs",
    ):  # fmt: skip
        assert told in card, told
    with pytest.raises(UsageError, match="--force replaces it"):
        export_run(tmp_path / "run", tmp_path / "front", whole)


@pytest.mark.ray
def test_ray_finds_the_same_and_a_killed_worker_goes_on_from_its_checkpoint(expand, squares, tmp_path):
    """The same search without Ray and with it, where one worker is killed with -9 in its second epoch."""
    fault = {"EXPAND_TEST_FAULT": "kill-once", "EXPAND_TEST_FLAG": str(tmp_path / "flag")}
    done = expand(
        "run",
        FAULTY,
        "--data",
        squares,
        "--workers",
        2,
        "--out",
        "ray",
        "--set",
        "recipe.epochs=3",
        timeout=200,
        **fault,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert (tmp_path / "flag").exists()
    trials = trials_of(tmp_path / "ray")
    assert [t.state for t in trials] == ["complete"] * 3
    killed = next(t for t in trials if t.architecture["frames"] > 2)
    assert killed.attempts == 2 and sum(t.attempts for t in trials) == 4
    assert [entry.epoch for entry in killed.curve] == [1, 2, 3]
    for trial in trials:  # --out was relative, and workers have a working directory of their own
        assert (tmp_path / "ray" / "artifacts" / f"{trial.number:06d}" / "model.safetensors").exists()
    plain = expand(
        "run", FAULTY, "--data", squares, "--workers", 0, "--out", "plain", "--set", "recipe.epochs=3", **fault
    )
    assert plain.returncode == 0, plain.stderr
    # Workers have one thread here and this process two, which may round differently: the searches agree, not the last digit.
    assert [t[:6] for t in outcome(tmp_path / "ray")] == [t[:6] for t in outcome(tmp_path / "plain")]


@pytest.mark.heavy
@pytest.mark.ray
def test_a_worker_that_always_dies_fails_its_trial_only(expand, squares, tmp_path):
    fault = {"EXPAND_TEST_FAULT": "kill-always", "EXPAND_TEST_FLAG": str(tmp_path / "flag")}
    done = expand(
        "run", FAULTY, "--data", squares, "--workers", 2, "--out", "run", "--set", "recipe.epochs=3", "--set",
        "budget.attempts=2", timeout=200, **fault,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    trials = trials_of(tmp_path / "run")
    assert {(t.state, t.architecture["frames"] > 2) for t in trials} == {("failed", True), ("complete", False)}
    (failed,) = [t for t in trials if t.state == "failed"]
    assert "its worker process has died" in failed.error and "2 times in a row" in failed.error  # Ray's words, and ours
    assert "Worker exit type" in failed.traceback and failed.attempts == 2


@pytest.mark.parametrize(
    ("fault", "words"), [("raise", "ArithmeticError: a fault in the model"), ("nan", "non-finite loss")]
)
def test_a_faulty_candidate_fails_and_the_search_goes_on(expand, squares, tmp_path, fault, words):
    words_of = ("run", FAULTY, "--data", squares, "--workers", 0, "--out", "run", "--set", "recipe.epochs=1")
    done = expand(*words_of, EXPAND_TEST_FAULT=fault, EXPAND_TEST_FLAG="-")
    assert done.returncode == 0, done.stderr
    trials = trials_of(tmp_path / "run")
    assert sorted(t.state for t in trials) == ["complete", "complete", "failed"]
    assert words in next(t.error for t in trials if t.state == "failed")


def test_a_search_killed_with_9_and_run_again_ends_as_an_unbroken_one(expand, squares, tmp_path, whole):
    for words in ("trial 1 epoch 1/2", "trial 3 queued"):
        process = start(squares, tmp_path, "--workers", "0")
        process.wait_for(words)
        process.kill()
        process.wait(timeout=20)
    before = outcome(tmp_path / "run")
    assert any(t[1] == "running" for t in before) and any(t[1] == "complete" for t in before)
    resumed = expand("run", TINY, "--data", squares, "--workers", 0, "--out", "run")
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed" in resumed.stdout
    assert outcome(tmp_path / "run") == outcome(whole)
    fronts = [(run / "report" / "front.csv").read_text() for run in (tmp_path / "run", whole)]
    assert fronts[0] == fronts[1]


def test_an_interrupt_marks_what_is_in_flight_and_says_how_to_go_on(expand, squares, tmp_path):
    process = start(squares, tmp_path, "--workers", "0", "--set", "recipe.epochs=400")
    process.wait_for("epoch 1/")
    second = expand("run", TINY, "--data", squares, "--workers", 0, "--out", "run", "--set", "recipe.epochs=400")
    assert second.returncode == 2 and f"pid {process.pid}" in second.stderr
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130 and "run the same command again" in error
    report = expand("report", "run")  # writes what there is, and says that there is no front yet
    assert report.returncode == 2 and (tmp_path / "run" / "report" / "trials.csv").exists()
    assert "interrupted" in expand("status", "run").stdout


@pytest.mark.parametrize("workers", ["0", pytest.param("1", marks=[pytest.mark.heavy, pytest.mark.ray])])
def test_sigterm_ends_with_its_own_code(squares, tmp_path, workers):
    process = start(squares, tmp_path, "--workers", workers, "--set", "recipe.epochs=400")
    process.wait_for("epoch 1/")
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 143 and "run the same command again" in error
    assert any(trial.interrupted for trial in trials_of(tmp_path / "run"))


@pytest.mark.ray
def test_a_driver_killed_with_9_leaves_no_worker_behind(squares, tmp_path):
    process = start(squares, tmp_path, "--workers", "2", "--set", "recipe.epochs=200")
    process.wait_for("epoch 1/200")
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) > 3
    process.kill()
    process.wait(timeout=20)
    deadline = time.monotonic() + 20
    while (left := [child for child in children if commands(child)]) and time.monotonic() < deadline:
        if all("agent" in commands(child) for child in left):
            break
        time.sleep(0.2)
    names = [commands(child) for child in left]
    for child in left:  # Ray's small agents stay for minutes
        child.kill()
    assert all("agent" in name or not name for name in names), names


def commands(process: psutil.Process) -> str:
    """The command line of a live process, nothing of a dead one."""
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else " ".join(process.cmdline()).lower()
    except psutil.NoSuchProcess:
        return ""


def test_a_candidate_over_its_limit_is_not_trained_after_a_resume(squares, tmp_path):
    """Killed between opening an infeasible trial and telling it."""
    study = override(load_study(str(TINY)), ["objectives.gmacs.limit=0.0001"])
    with open_for_writing(tmp_path, facts_of(study), study) as record:
        cost = Cost(200_000, 10, 10, 10, ((3, 2, 16, 16),))
        number = record.open_trial(Suggestion(study.space.start, 2, 0, kind="start"), cost, study.space)
        watch = PlainLines(Console())
        show = Presenter(record, lambda: run_facts(record), watch.note)
        search = Search(study, record, MacsCounter(study.space, 3), ("", ""), [], 1, watch, show)
        assert search.queue == [] and record.trial(number).state == "infeasible"


@pytest.mark.usefixtures("no_pictures")
def test_a_record_that_cannot_be_written_stops_the_search_and_fails_no_candidate(squares, tmp_path, monkeypatch):
    monkeypatch.setattr("expand.storage.database.LOCK_WAIT_SECONDS", 0.2)
    request = Request(str(TINY), data=str(squares))
    locks = []

    class Locking(PlainLines):
        def epoch(self, trial, entry):  # another program takes the database after the first epoch
            lock = sqlite3.connect(tmp_path / "run" / "optuna.db", isolation_level=None)
            lock.execute("BEGIN EXCLUSIVE")
            locks.append(lock)

    with pytest.raises(ExpandError, match="database is locked"):
        run(request, tmp_path / "run", Workers(0, 1), Locking(Console(quiet=True)))
    locks[0].execute("COMMIT")
    locks[0].close()
    assert {trial.state for trial in trials_of(tmp_path / "run")} == {"running"}
    run(request, tmp_path / "run", Workers(0, 1), PlainLines(Console(quiet=True)))
    assert {trial.state for trial in trials_of(tmp_path / "run")} == {"complete"}


def test_a_limit_makes_candidates_infeasible_and_untrained(expand, squares, tmp_path):
    first = expand(
        "run", TINY, "--data", squares, "--workers", 0, "--out", "run", "--set", "objectives.gmacs.limit=0.00025"
    )
    assert first.returncode == 0, first.stderr
    trials = json.loads(expand("status", "run", "--json").stdout)["trials"]
    over = [t for t in trials if t["state"] == "infeasible"]
    assert over and all(t["macs"] > 250_000 and t["epochs_done"] == 0 for t in over)
    assert all(t["macs"] <= 250_000 for t in trials if t["state"] == "complete")


def test_a_changed_study_or_changed_data_is_refused_with_the_difference(expand, squares, tmp_path):
    data = tmp_path / "videos"
    shutil.copytree(squares, data)
    settings = ("--data", data, "--workers", 0, "--out", "run", "--set", "budget.steps=0")
    assert expand("run", TINY, *settings).returncode == 0
    changed = expand("run", TINY, *settings, "--set", "recipe.epochs=5")
    assert changed.returncode == 2 and "recipe.epochs: 2 in the run, 5 now" in changed.stderr
    (data / "val" / "at rest" / "100.avi").rename(data / "val" / "to the left" / "moved.avi")
    assert expand("run", TINY, *settings, "--set", "recipe.epochs=5", "--force").returncode == 2
    moved = expand("run", TINY, *settings)
    assert moved.returncode == 2 and "data:" in moved.stderr and "1 video added" in moved.stderr
    assert [t[1] for t in outcome(tmp_path / "run")] == ["complete"]
    assert expand("run", TINY, *settings, "--force").returncode == 0
