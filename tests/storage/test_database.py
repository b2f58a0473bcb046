"""A record whose database is damaged, holds what is not ours, or was interrupted in the midst of a write."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from conftest import STUDIES
from optuna.storages._rdb import models
from rich.console import Console
from tiny_records import COST, SPACE, facts_of, opened, study, suggestion
from tiny_runs import start, trials_of

from expand.config.request import Request
from expand.core.errors import ExpandError, UsageError
from expand.core.outcome import Completed
from expand.core.study import Objective
from expand.core.trial import Metrics, TrialState
from expand.monitoring.progress import PlainLines
from expand.search.run import run
from expand.search.worker_plan import Workers
from expand.storage import run_directory as records

METRICS = Metrics(0.5, 0.9, 1.0, 40, 2)


def a_run(folder: Path, trials: int = 3) -> Path:
    """A run with results: its database."""
    with opened(folder) as record:
        for _ in range(trials):
            number = record.open_trial(suggestion(frames=2), COST, SPACE)
            record.complete(number, Completed(METRICS, train_seconds=1.0))
            record.weights(number).parent.mkdir(parents=True)
            record.weights(number).write_bytes(b"weights")
    return folder / "optuna.db"


def plain(folder: Path) -> optuna.Study:
    """As any other program opens it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.load_study(study_name="test", storage=f"sqlite:///{folder}/optuna.db")


# --- damage ----------------------------------------------------------------------------------------------------------


def overwritten(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + os.urandom(8192) + content[middle + 8192 :]


DAMAGE = {
    "overwritten in the middle": (overwritten, "[Pp]age|Tree|malformed|index"),
    "cut off": (lambda content: content[: len(content) * 2 // 3], "malformed|[Pp]age"),
    "empty": (lambda content: b"", "is empty"),
    "not a database": (lambda content: b"These are not the trials that you look for. " * 99, "not a database"),
    "not there": (lambda content: None, "not there"),
    "another database": (lambda content: another_database(), "holds no study 'test'|no such table"),
}


def another_database() -> bytes:
    with sqlite3.connect(":memory:") as other:
        other.execute("CREATE TABLE thesis (page TEXT)")
        return other.serialize()


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_database_says_what_is_lost_and_what_is_there_and_stays_as_it_is(tmp_path, kind):
    damage, cause = DAMAGE[kind]
    path = a_run(tmp_path)
    after = damage(path.read_bytes())
    path.unlink()
    if after is not None:
        path.write_bytes(after)
    files = sorted(tmp_path.rglob("*"))
    with pytest.raises(ExpandError, match=f"is damaged .*({cause})") as error, opened(tmp_path):
        pass
    said = str(error.value)
    assert (
        "the weights of 3 trials (artifacts/)" in said
        and "Put a copy of the database back" in said
        and "\n" not in said
    )
    assert (".dump" in said) == bool(after)
    assert (path.read_bytes() if path.exists() else None) == after
    assert [name for name in sorted(tmp_path.rglob("*")) if "lock" not in name.name] == [
        name for name in files if "lock" not in name.name
    ]
    if kind not in ("overwritten in the middle", "cut off"):  # a part may still be read
        with pytest.raises(ExpandError, match="is damaged"):
            records.open_for_reading(tmp_path).trials()


def test_wherever_bytes_are_overwritten_it_is_one_of_our_errors_or_none(tmp_path):
    path = a_run(tmp_path)
    whole, dice, refused = path.read_bytes(), random.Random(0), 0
    for _ in range(25):
        first = dice.randrange(len(whole))
        path.write_bytes(whole[:first] + dice.randbytes(300) + whole[first + 300 :])
        for opening in (lambda: records.open_for_reading(tmp_path).trials(), lambda: written(tmp_path)):
            try:
                opening()
            except ExpandError as error:
                refused += 1
                assert "\n" not in str(error)
    assert refused >= 10


def written(folder: Path) -> None:
    with opened(folder) as record:
        record.trials()


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the sqlite3 command is not installed")
def test_the_recovery_that_the_error_offers_works(tmp_path):
    path = a_run(tmp_path, trials=30)
    content = path.read_bytes()
    with sqlite3.connect(path) as tables:  # an index: all trials are still in their table
        (page,) = tables.execute("SELECT rootpage FROM sqlite_master WHERE name = 'ix_trials_study_id'").fetchone()
        (size,) = tables.execute("PRAGMA page_size").fetchone()
    path.write_bytes(content[: (page - 1) * size] + os.urandom(size) + content[page * size :])
    with pytest.raises(ExpandError, match=r"sqlite3 .*\.dump .*\| sqlite3 recovered\.db") as error, opened(tmp_path):
        pass
    command = str(error.value).split("`")[1]
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, timeout=60).returncode == 0
    (tmp_path / "recovered.db").replace(path)
    with opened(tmp_path) as record:
        assert [trial.metrics for trial in record.trials()] == [METRICS] * 30


def test_at_the_command_line_damage_is_one_line(expand, squares, tmp_path):
    a_run(tmp_path / "run").write_bytes(b"no database" * 1000)
    for command in (("status", "run"), ("report", "run")):
        done = expand(*command)
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert "the weights of 3 trials" in " ".join(done.stderr.split())


def test_a_study_json_without_a_study_is_refused(tmp_path):
    for content in ("[]", "{}", '{"optuna_study": "x"}', '{"optuna_study": "x", "study": 3}'):
        (tmp_path / "study.json").write_text(content)
        with pytest.raises(UsageError, match="cannot be read"):
            records.open_for_reading(tmp_path)


@pytest.mark.parametrize("left", ["torn tail", "stale lock"])
def test_a_journal_file_is_refused_at_once(tmp_path, left):
    log = tmp_path / "journal.log"
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(log)))
    optuna.create_study(storage=storage, study_name="test").add_trial(optuna.trial.create_trial(value=1.0))
    if left == "torn tail":
        log.write_bytes(log.read_bytes()[:-25])
    else:
        os.symlink(log, f"{log}.lock")
    began = time.monotonic()
    opening = records.open_for_writing(tmp_path / "run", facts_of(study()), study(), storage=f"journal:///{log}")
    with pytest.raises(UsageError, match="use SQLite, PostgreSQL or MySQL"), opening:
        pass
    assert time.monotonic() - began < 5


# --- what others put there -------------------------------------------------------------------------------------------


def test_trials_of_other_programs_are_left_alone(tmp_path):
    a_run(tmp_path, trials=1)
    other = plain(tmp_path)
    other.enqueue_trial({"frames": 4})
    other.ask()  # takes the enqueued one
    other.add_trial(optuna.trial.create_trial(values=[0.99, 0.001], user_attrs={"state": "complete"}))
    with opened(tmp_path) as record:
        assert record.foreign() == (1, 2)
        number = record.open_trial(suggestion(frames=4), COST, SPACE)
        other.enqueue_trial({"frames": 8})  # while we run
        record.complete(number, Completed(METRICS))
        assert [trial.number for trial in record.trials()] == [0, 3]
        with pytest.raises(UsageError, match="trial 2: this run has trials 0 to 3"):
            record.trial(2)
    assert [trial.state.name for trial in plain(tmp_path).trials] == [
        "COMPLETE", "RUNNING", "COMPLETE", "COMPLETE", "WAITING",
    ]  # fmt: skip


def test_a_search_goes_on_around_trials_of_other_programs(squares, tmp_path):
    notes: list[str] = []

    class Meddling(PlainLines):
        def note(self, line: str) -> None:
            notes.append(line)

        def ended(self, trial) -> None:
            study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{tmp_path}/run/optuna.db")
            study.enqueue_trial({})

    request = Request(str(STUDIES / "tiny.py"), data=str(squares), settings=("recipe.epochs=1", "budget.steps=2"))
    trials = run(request, tmp_path / "run", Workers(0, 1), Meddling(Console(quiet=True))).trials()
    assert {trial.state for trial in trials} == {TrialState.COMPLETE} and len(trials) >= 3
    assert [trial.number for trial in trials] != list(range(len(trials)))
    run(request, tmp_path / "run", Workers(0, 1), Meddling(Console(quiet=True)))
    assert any("trials of other programs" in line for line in notes)
    assert (tmp_path / "run" / "report" / "front.csv").exists()


def test_a_trial_that_another_program_ends_is_said_and_fails(tmp_path):
    with opened(tmp_path) as record:
        number = record.open_trial(suggestion(frames=2), COST, SPACE)
        plain(tmp_path).tell(number, state=optuna.trial.TrialState.FAIL)
        with pytest.raises(ExpandError, match="another program ended a trial"):
            record.complete(number, Completed(METRICS))
    with opened(tmp_path) as record:
        assert record.trial(number).state is TrialState.FAILED
        assert "another program ended it as FAIL" in record.trial(number).error


def test_somebodys_study_of_the_same_name_is_refused_and_left_as_it_is(tmp_path):
    url = f"sqlite:///{tmp_path}/optuna.db"
    theirs = optuna.create_study(study_name="test", storage=url, directions=["maximize", "minimize"])
    theirs.add_trial(optuna.trial.create_trial(values=[0.5, 1.0]))
    before = (tmp_path / "optuna.db").read_bytes()
    with (
        pytest.raises(UsageError, match=r"holds a study 'test' that is not of this run \(1 trials\)"),
        opened(tmp_path),
    ):
        pass
    assert (tmp_path / "optuna.db").read_bytes() == before and not (tmp_path / "study.json").exists()


def test_a_database_of_other_objectives_is_refused(tmp_path):
    a_run(tmp_path / "one")
    of = study(objectives=(Objective("top1", "maximize"),))
    with opened(tmp_path / "two", of):
        pass
    shutil.copy(tmp_path / "two" / "optuna.db", tmp_path / "one" / "optuna.db")
    with pytest.raises(UsageError, match="not of this run"), opened(tmp_path / "one"):
        pass


# --- interrupts ------------------------------------------------------------------------------------------------------


class Interrupted(BaseException):
    pass


def ends_before(line: int, write: Callable[[], object]) -> bool:
    """Whether a write ends before that line of Python, counted; if not, an exception is raised there as by a signal's handler."""
    left, before = line, sys.gettrace()

    def trace(frame, event, argument):
        nonlocal left
        left -= event == "line"
        if left == 0:
            raise Interrupted
        return trace

    sys.settrace(trace)
    try:
        write()
    except Interrupted:
        pass
    finally:
        sys.settrace(before)
    return left > 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_anywhere_in_a_write_does_not_lock_the_driver_out(tmp_path):
    """At every 97th line of a small write and every 12007th of a large one. A cursor that is stopped before its last row keeps
    SQLite's lock, even after its connection is closed, and lives as long as the interrupt's traceback: so `Storage` drops the
    traceback before it lets the interrupt go on."""
    with opened(tmp_path) as record:

        def open_trial() -> None:
            record.open_trial(suggestion(frames=2), COST, SPACE)

        open_trial()
        for write, stride in ((open_trial, 12007), (lambda: record.note(0, step=1), 97)):
            line = 1
            while not ends_before(line, write):
                with contextlib.closing(sqlite3.connect(tmp_path / "optuna.db", timeout=0)) as other:
                    other.execute("BEGIN EXCLUSIVE")
                line += stride
            assert line > 10 * stride
        numbers = [trial.number for trial in record.trials()]
        assert numbers == list(range(len(numbers)))


def killed_while_it_makes_the_tables(folder: Path) -> None:
    sqlalchemy.event.listen(
        models.TrialModel.__table__, "before_create", lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
    )
    with opened(folder):
        pass


def test_a_driver_killed_while_it_makes_the_tables_leaves_none(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=killed_while_it_makes_the_tables, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL and (tmp_path / "optuna.db").exists()
    with opened(tmp_path) as record:
        record.open_trial(suggestion(frames=2), COST, SPACE)
        assert len(record.trials()) == 1


# --- trials of a driver that is gone ---------------------------------------------------------------------------------


@pytest.mark.heavy
def test_trials_left_running_are_taken_up_again_under_their_numbers(expand, squares, tmp_path):
    process = start(squares, tmp_path, "--workers", "0", "--set", "budget.steps=0")
    process.wait_for("epoch 1/")
    process.kill()
    process.wait(timeout=20)
    assert [trial.state for trial in trials_of(tmp_path / "run")] == [TrialState.RUNNING]
    done = expand(
        "run", STUDIES / "tiny.py", "--data", squares, "--workers", 0, "--out", "run", "--set", "budget.steps=0"
    )
    assert done.returncode == 0, done.stderr
    assert [(t.number, t.state, t.attempts) for t in trials_of(tmp_path / "run")] == [(0, TrialState.COMPLETE, 2)]
