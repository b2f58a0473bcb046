"""A record in PostgreSQL: a real server that restarts, stays away, refuses, and whose answers are lost."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import ROOT, STUDIES
from postgres import PASSWORD, Line, free_port, server, why_not
from tiny_records import COST, SPACE, facts_of, study, suggestion
from tiny_runs import outcome, start

from expand.core.attempt import Epoch
from expand.core.errors import ExpandError, UsageError
from expand.core.outcome import Completed
from expand.core.trial import Metrics, TrialState
from expand.storage import database
from expand.storage import run_directory as records

missing = why_not()
needs_server = pytest.mark.skipif(bool(missing), reason=missing)
METRICS = Metrics(0.5, 0.9, 1.0, 40, 2)


@pytest.fixture(scope="module")
def postgres():
    with server() as running:
        yield running


def opened(folder: Path, url: str):
    return records.open_for_writing(folder, facts_of(study()), study(), storage=url)


@needs_server
def test_a_server_that_restarts_costs_no_trial_and_doubles_none(postgres, tmp_path):
    with opened(tmp_path / "run", postgres.create("restarted")) as record:
        restarts = threading.Thread(target=lambda: postgres.restart(away=1.0))
        restarts.start()
        told = 0
        while restarts.is_alive() or told < 20:
            number = record.open_trial(suggestion(frames=2), COST, SPACE)
            record.epoch(number, [Epoch(1, 2.0, 0.5)])
            record.complete(number, Completed(METRICS))
            told += 1
        assert [trial.number for trial in record.trials()] == list(range(told))
        assert {trial.state for trial in record.trials()} == {TrialState.COMPLETE}


@needs_server
@pytest.mark.parametrize(
    "before", [pytest.param(True, id="request lost", marks=pytest.mark.heavy), pytest.param(False, id="answer lost")]
)
def test_no_commit_may_be_lost_or_done_twice_whichever_connection_breaks(postgres, tmp_path, before):
    """The line breaks at the first commit of a trial, of the next one at the second, and so on, to the last."""
    name = f"cut_{before}".lower()
    postgres.create(name)
    line = Line(postgres.port)
    try:
        with opened(tmp_path / "run", postgres.url(name, port=line.port)) as record:
            number = -1
            while line.cuts == number + 1:
                line.cut(number + 2, before=before)
                assert record.open_trial(suggestion(frames=2), COST, SPACE) == number + 1
                number += 1
                record.complete(number, Completed(METRICS, train_seconds=2.0))
            line.cut(0, before=before)
            trials = record.trials()
        assert line.cuts >= 8  # the creation, the attributes, the end
        assert [trial.number for trial in trials] == list(range(number + 1))
        assert {(t.state, t.metrics, t.train_seconds) for t in trials} == {(TrialState.COMPLETE, METRICS, 2.0)}
    finally:
        line.close()


@needs_server
def test_a_server_that_stays_away_is_one_line_and_waited_for_only_once(postgres, tmp_path, monkeypatch):
    monkeypatch.setattr(database, "LOCK_WAIT_SECONDS", 1.5)
    monkeypatch.setenv("EXPAND_STORAGE", postgres.create("away"))
    with opened(tmp_path / "run", os.environ["EXPAND_STORAGE"]) as record:
        number = record.open_trial(suggestion(frames=2), COST, SPACE)
        postgres.stop()
        try:
            began = time.monotonic()
            with pytest.raises(ExpandError) as error:
                record.epoch(number, [Epoch(1, 2.0, 0.5)])
            waited = time.monotonic() - began
            with pytest.raises(ExpandError):
                record.note(number, interrupted=True)
            assert time.monotonic() - began - waited < waited / 2
        finally:
            postgres.start()
    said = str(error.value)
    assert "run the same command again" in said and "the server runs" in said and "\n" not in said
    assert "127.0.0.1" in said and PASSWORD not in said
    with opened(tmp_path / "run", os.environ["EXPAND_STORAGE"]) as record:
        assert [trial.state for trial in record.trials()] == [TrialState.RUNNING]
        record.complete(number, Completed(METRICS))


@needs_server
def test_a_lock_of_another_program_is_waited_for_as_in_sqlite(postgres, tmp_path, monkeypatch):
    monkeypatch.setattr(database, "LOCK_WAIT_SECONDS", 1.0)
    with opened(tmp_path / "run", postgres.create("locked")) as record, postgres.connect("locked") as other:
        number = record.open_trial(suggestion(frames=2), COST, SPACE)
        other.execute("BEGIN")
        other.execute("LOCK TABLE trials, trial_user_attributes")
        threading.Timer(0.3, lambda: other.execute("COMMIT")).start()
        record.epoch(number, [Epoch(1, 2.0, 0.5)])
        other.execute("BEGIN")
        other.execute("LOCK TABLE trials, trial_user_attributes")
        with pytest.raises(ExpandError, match="lock timeout"):
            record.epoch(number, [Epoch(2, 2.0, 0.5)])
        other.execute("COMMIT")
        assert [entry.epoch for entry in record.trial(number).curve] == [1]


@needs_server
def test_what_cannot_be_opened_is_said_at_once_in_one_line(postgres, tmp_path):
    postgres.create("there")
    for url, words, remedy in (
        (postgres.url("there", password="wrong pass"), "password authentication failed", "EXPAND_STORAGE"),
        (postgres.url("nowhere"), 'database "nowhere" does not exist', "createdb"),
        (postgres.url("there", port=free_port()), "refused", "the server runs"),
    ):
        began = time.monotonic()
        with pytest.raises(ExpandError) as error, opened(tmp_path / "run", url):
            pass
        said = str(error.value)
        assert words in said and remedy in said and "\n" not in said
        assert "wrong" not in said and PASSWORD not in said
        assert time.monotonic() - began < 10  # and not LOCK_WAIT_SECONDS
    assert not (tmp_path / "run" / "study.json").exists()


def test_the_missing_package_is_named_with_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)  # what Python does where it is not installed
    words = r"psycopg is not installed.*pip install 'expand-nas\[postgresql\]'"
    with pytest.raises(UsageError, match=words), opened(tmp_path / "run", "postgresql+psycopg://me@127.0.0.1/trials"):
        pass
    with pytest.raises(UsageError, match="pip install pymysql"), opened(tmp_path / "run", "mysql+pymysql://me@host/db"):
        pass


START = """
import sys; sys.path.insert(0, sys.argv[2])
from pathlib import Path
from tiny_records import *
sys.stdin.read(1)
of = study()
storage = sys.argv[3] or None
try:
    with records.open_for_writing(Path(sys.argv[1]), facts_of(of), of, storage=storage) as record:
        print("opened", record.open_trial(suggestion(frames=2), COST, SPACE), flush=True)
        sys.stdin.read(1)
except Exception as error:
    print(type(error).__name__, error)
"""


def eight_starts(folders: list[Path], storage: str) -> list[str]:
    """What eight drivers say that begin in one moment."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", START, str(folder), str(ROOT / "tests"), storage],
            env=environment | {"OMP_NUM_THREADS": "1"}, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for folder in folders
    ]  # fmt: skip
    time.sleep(10)  # all have imported what they need, and wait
    for process in started:
        assert process.stdin is not None
        process.stdin.write("g")
        process.stdin.flush()
    said = []
    for process in started:
        assert process.stdout is not None and process.stdin is not None
        said.append(process.stdout.readline().strip())
    for process in started:
        process.communicate("g", timeout=60)
    return said


@pytest.mark.heavy
def test_of_eight_starts_at_once_in_one_folder_one_runs_and_the_others_say_who(tmp_path):
    said = eight_starts([tmp_path / "run"] * 8, "")
    assert sorted(line.split()[0] for line in said) == ["UsageError"] * 7 + ["opened"]
    assert all("has a live driver already" in line for line in said if line.startswith("UsageError"))
    assert len(records.open_for_reading(tmp_path / "run").trials()) == 1


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=needs_server)])
def test_eight_runs_that_start_at_once_share_a_new_database(request, tmp_path, kind):
    url = f"sqlite:///{tmp_path}/all.db"
    if kind == "postgres":
        url = request.getfixturevalue("postgres").create("all")
    said = eight_starts([tmp_path / f"run{index}" for index in range(8)], url)
    assert said == ["opened 0"] * 8, said


@needs_server
@pytest.mark.heavy
def test_a_whole_search_goes_through_restarts_and_ends_as_without(expand, postgres, squares, tmp_path):
    whole = expand("run", STUDIES / "tiny.py", "--data", squares, "--workers", 0, "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    process = start(squares, tmp_path, "--workers", "0", "--storage", postgres.create("searched"))
    process.wait_for("trial 0")
    while process.poll() is None:
        postgres.restart(away=1.0)
        time.sleep(1)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    os.environ["EXPAND_STORAGE"] = postgres.url("searched")
    try:
        assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
    finally:
        del os.environ["EXPAND_STORAGE"]
