"""The record: what is told stays told, one driver at a time, nobody else's folder."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import optuna
import pytest
from conftest import ROOT
from tiny_records import COST, SPACE, facts_of, opened, study, suggestion

from expand.core.attempt import Attempt, EndedTry, Epoch, Fault, Speed
from expand.core.errors import ExpandError, UsageError
from expand.core.outcome import Completed, Failed
from expand.core.study import Objective
from expand.core.trial import Metrics, TrialState
from expand.storage import database
from expand.storage import run_directory as records
from expand.storage.folder import live_driver


def test_a_trial_comes_back_as_it_was_told(tmp_path):
    curve = (Epoch(1, 2.0, 0.25, 2.5, 1, 0.1, 1.0),)
    with opened(tmp_path) as record:
        number = record.open_trial(suggestion(frames=2), COST, SPACE)
        assert record.trial(number).state is TrialState.RUNNING
        record.epoch(number, curve)
        attempt = Attempt(
            2, "cpu", 1, {"Block": "0f"}, ("a note",), 7, speed=Speed(1.0, 0.1, False, 1, 1, 3, "f", "c", 0)
        )
        record.retried(number, [EndedTry("now", 1, Fault.MEMORY, "none left", "line 1", "node")])
        record.complete(number, Completed(Metrics(0.5, 0.9, 1.0, 40, 2), attempt, curve, 3.5))
    trial = records.open_for_reading(tmp_path).trial(number)
    assert trial.state is TrialState.COMPLETE and trial.metrics == Metrics(0.5, 0.9, 1.0, 40, 2)
    assert trial.suggestion == suggestion(frames=2) and trial.cost == COST
    assert (trial.curve, trial.train_seconds, trial.attempts, trial.attempt) == (curve, 3.5, 2, attempt)
    assert trial.retries == (EndedTry("now", 1, "memory", "none left", "line 1", "node"),) and trial.error == ""


def test_optuna_reads_it_without_us(tmp_path):
    with opened(tmp_path) as record:
        number = record.open_trial(suggestion(frames=4), COST, SPACE)
        record.complete(number, Completed(Metrics(0.5, 0.9, 1.0, 40, 2)))
    plain = optuna.load_study(study_name="test", storage=f"sqlite:///{tmp_path}/optuna.db")
    assert plain.metric_names == ["top1", "gmacs"]
    assert plain.best_trials[0].values == [0.5, 0.002]
    assert plain.trials[0].params == SPACE.architecture(frames=4).as_dict()
    assert plain.trials[0].user_attrs["axis"] == "frames" and plain.trials[0].user_attrs["parent"] == 0


def test_infeasible_is_pruned_with_its_constraint_and_failed_is_fail(tmp_path):
    with opened(tmp_path) as record:
        first = record.open_trial(suggestion(frames=2), COST, SPACE)
        record.infeasible(first, Objective("gmacs", "minimize", True, limit=0.001), 0.002)
        second = record.open_trial(suggestion(frames=4), COST, SPACE)
        record.fail(second, Failed("ArithmeticError: why"))
        assert [t.state for t in record.trials()] == [TrialState.INFEASIBLE, TrialState.FAILED]
        assert "0.002, the limit 0.001" in record.trial(0).error and record.trial(1).error == "ArithmeticError: why"
    plain = optuna.load_study(study_name="test", storage=f"sqlite:///{tmp_path}/optuna.db")
    assert [t.state.name for t in plain.trials] == ["PRUNED", "FAIL"]
    assert plain.trials[0].system_attrs["constraints:gmacs"] > 0 and not plain.best_trials


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_no_number_never_completes(tmp_path, value):
    with opened(tmp_path) as record:
        number = record.open_trial(suggestion(frames=2), COST, SPACE)
        record.complete(number, Completed(Metrics(value, 0, 0, 1, 1)))
        assert record.trial(number).state is TrialState.FAILED


def test_a_trial_whose_driver_died_while_telling_it_is_still_running(tmp_path, monkeypatch):
    """Between the attributes and Optuna's own state."""
    with opened(tmp_path) as record:
        number = record.open_trial(suggestion(frames=2), COST, SPACE)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(record.optuna_study, "tell", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
            record.complete(number, Completed(Metrics(0.5, 0.9, 1.0, 40, 2)))
        trial = record.trial(number)
        assert trial.state is TrialState.RUNNING and trial.metrics is None
        record.complete(number, Completed(Metrics(0.5, 0.9, 1.0, 40, 2)))
        assert record.trial(number).state is TrialState.COMPLETE


def test_a_second_driver_is_refused_by_name(tmp_path):
    with opened(tmp_path):
        assert str(os.getpid()) in live_driver(tmp_path)
        with pytest.raises(UsageError, match=f"live driver already .pid {os.getpid()}"), opened(tmp_path):
            pass
    assert live_driver(tmp_path) == ""
    with opened(tmp_path):
        pass


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match=r"holds thesis.tex and no run"), opened(tmp_path):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(UsageError, match="no run of expand"):
        records.open_for_reading(tmp_path)


def test_what_a_killed_or_simultaneous_start_left_does_not_make_a_folder_foreign(tmp_path):
    for name in (".write-probe-1", ".environment.json.1.tmp"):
        (tmp_path / name).write_text("")
    with opened(tmp_path):
        pass


def test_a_run_whose_study_was_never_made_says_so(tmp_path):
    with opened(tmp_path):
        pass
    (tmp_path / "optuna.db").unlink()
    with pytest.raises(UsageError, match="nothing has been recorded yet"):
        records.open_for_reading(tmp_path)
    assert not (tmp_path / "optuna.db").exists()


def test_a_changed_experiment_is_refused_before_anything_is_written(tmp_path):
    def refuse(stored):
        raise UsageError("another experiment")

    with opened(tmp_path):
        pass
    before = (tmp_path / "optuna.db").read_bytes()
    params_m = study(objectives=(Objective("top1", "maximize"), Objective("params_m", "minimize", True)))
    opening = records.open_for_writing(tmp_path, facts_of(params_m), params_m, refuse=refuse)
    with pytest.raises(UsageError, match="another experiment"), opening:
        pass
    assert (tmp_path / "optuna.db").read_bytes() == before


def test_runs_in_one_database_do_not_mix(tmp_path):
    url = f"sqlite:///{tmp_path}/shared.db"
    of = study()
    for name in "ab":
        with records.open_for_writing(tmp_path / name, facts_of(of), of, storage=url) as record:
            record.open_trial(suggestion(frames=2), COST, SPACE)
            assert len(record.trials()) == 1
    assert len(records.open_for_reading(tmp_path / "a").trials()) == 1


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg2://me:a%40b@host:5433/db", "postgresql+psycopg2://me@host:5433/db"),
        ("postgresql://host/db?password=secret&sslmode=require", "postgresql://host/db?sslmode=require"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("sqlite:////tmp/a%20b.db", "sqlite:////tmp/a%20b.db"),
        ("no url", "no url"),
    ],
)
def test_a_password_is_left_out_of_a_url(url, shown):
    assert database.without_password(url) == shown


def test_a_password_is_not_kept_and_is_taken_from_the_environment(tmp_path, monkeypatch):
    """SQLite takes the password of its URL for nothing, which is enough to see where it goes."""
    place, of, opened_with = f"{tmp_path}/shared.db", study(), []
    secret, bare = f"sqlite:///{place}?password=hunter2", f"sqlite:///{place}"

    class Spy(database.Storage):
        def __init__(self, url, **options):
            opened_with.append(url)
            super().__init__(bare, **options)

    monkeypatch.setattr(database, "Storage", Spy)
    opening = {"facts": facts_of(of), "study": of}
    with records.open_for_writing(tmp_path / "run", **opening, storage=secret) as record:
        record.open_trial(suggestion(frames=2), COST, SPACE)
        assert database.storage_url(record.folder, record.facts) == bare
    assert "hunter2" not in "".join(path.read_text() for path in (tmp_path / "run").glob("*.json"))
    monkeypatch.setenv("EXPAND_STORAGE", secret)
    assert len(records.open_for_reading(tmp_path / "run").trials()) == 1
    with records.open_for_writing(tmp_path / "run", **opening):
        pass
    with records.open_for_writing(tmp_path / "other", **opening) as record:  # a new run goes there, too
        assert record.facts.storage == bare
    monkeypatch.setenv("EXPAND_STORAGE", "postgresql://me:hunter2@host/other")
    records.open_for_reading(tmp_path / "run")
    assert opened_with == [secret] * 5 + [bare]  # the first twice: it found no tables
    refused = records.open_for_writing(tmp_path / "run", **opening, storage="postgresql://me:hunter2@host/other")
    with pytest.raises(UsageError) as error, refused:
        pass
    assert "postgresql://me@host/other" in str(error.value) and "hunter2" not in str(error.value)


@pytest.mark.parametrize("url", ["foo", "nosuchdatabase://x", "journal:///x.log"])
def test_a_wrong_storage_is_named_and_not_kept(tmp_path, url):
    of = study()
    opening = records.open_for_writing(tmp_path, facts_of(of), of, storage=url)
    with pytest.raises(UsageError, match=url.partition(":")[0]), opening:
        pass
    assert not (tmp_path / "study.json").exists()
    with opened(tmp_path), pytest.raises(UsageError, match="live driver"), opened(tmp_path):
        pass


def test_a_path_with_odd_characters_keeps_its_own_database(tmp_path):
    folder = tmp_path / "a?b %20 {c}"
    with opened(folder) as record:
        record.open_trial(suggestion(frames=2), COST, SPACE)
    assert (folder / "optuna.db").exists() and len(records.open_for_reading(folder).trials()) == 1


def test_a_file_or_an_unreadable_run_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"), opened(tmp_path / "file"):
        pass
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "study.json").write_text("{")
    with pytest.raises(UsageError, match="cannot be read"), opened(tmp_path / "run"):
        pass


def test_a_read_only_folder_is_refused_before_work(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(0o555)
    script = (
        "import os, sys\n"
        "from pathlib import Path; from expand.storage.folder import check_folder\n"
        "if os.getuid() == 0: os.setresuid(65534, 65534, 65534)\n"
        "try: check_folder(Path(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:3]:
        if parent != Path("/tmp") and str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    source = Path(records.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], env=os.environ | {"PYTHONPATH": str(source)}, text=True,
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.startswith("ExpandError cannot write"), done.stdout + done.stderr


def test_a_locked_database_is_waited_for(tmp_path):
    with opened(tmp_path) as record:
        number = record.open_trial(suggestion(frames=2), COST, SPACE)
        other = sqlite3.connect(tmp_path / "optuna.db", isolation_level=None, check_same_thread=False)
        other.execute("BEGIN EXCLUSIVE")
        threading.Timer(1.5, lambda: other.execute("COMMIT")).start()
        began = time.monotonic()
        record.epoch(number, [Epoch(1, 2.0, 0.5)])
        assert time.monotonic() - began > 1
        assert record.trial(number).curve == (Epoch(1, 2.0, 0.5),)
        other.close()


def test_a_database_locked_for_good_is_one_clear_line_and_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "LOCK_WAIT_SECONDS", 0.2)
    with opened(tmp_path) as record:
        number = record.open_trial(suggestion(frames=2), COST, SPACE)
        other = sqlite3.connect(tmp_path / "optuna.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ExpandError, match="database is locked"):
            record.epoch(number, [Epoch(1, 2.0, 0.5)])
        with pytest.raises(ExpandError, match="database is locked"):
            record.open_trial(suggestion(frames=4), COST, SPACE)
        other.execute("COMMIT")
        other.close()
        assert [trial.state for trial in record.trials()] == [TrialState.RUNNING]


def test_a_database_of_another_optuna_is_left_as_it_is(tmp_path):
    with opened(tmp_path) as record:
        record.open_trial(suggestion(frames=2), COST, SPACE)
    with sqlite3.connect(tmp_path / "optuna.db") as tables:
        tables.execute("UPDATE alembic_version SET version_num = 'v2.6.0.a'")
        tables.execute("UPDATE version_info SET schema_version = 10")
        tables.execute("DROP TABLE trial_heartbeats")  # younger than that version
    before = (tmp_path / "optuna.db").read_bytes()
    with pytest.raises(ExpandError, match="optuna storage upgrade"):
        records.open_for_reading(tmp_path)
    with pytest.raises(ExpandError, match="optuna storage upgrade"), opened(tmp_path):
        pass
    assert (tmp_path / "optuna.db").read_bytes() == before


def test_told_trials_survive_kill_9(tmp_path):
    """A writer is killed again and again in the middle of telling; whatever it had told is there."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path\n"
        "from tiny_records import *\n"
        "with opened(Path(sys.argv[1])) as record:\n"
        "    while True:\n"
        "        n = record.open_trial(suggestion(frames=2), COST, SPACE)\n"
        "        record.complete(n, Completed(Metrics(0.5, 0.9, 1.0, 40, 2)))\n"
        "        print(n, flush=True)\n"
    )
    told = -1
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "run"), str(ROOT / "tests")],
            env=os.environ | {"PYTHONPATH": str(Path(records.__file__).parents[2])}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            told = int(line)
            if told % 4 == 3:
                process.kill()
                break
        process.wait(timeout=20)
        process.stdout.close()
        trials = records.open_for_reading(tmp_path / "run").trials()
        done = [t.number for t in trials if t.state is TrialState.COMPLETE]
        assert set(range(told + 1)) - {t.number for t in trials if t.state is TrialState.RUNNING} <= set(done)
