"""Signals come between two writes, and a driver whose Ray is gone says so and can be resumed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from conftest import ROOT, STUDIES
from rich.console import Console
from tiny_records import facts_of

from expand.config.loading import load_study
from expand.config.request import Request
from expand.core import signals
from expand.core.attempt import Epoch
from expand.core.errors import UsageError
from expand.core.signals import Interrupted
from expand.core.trial import Cost, Suggestion
from expand.monitoring.progress import PlainLines
from expand.search import ray_processes
from expand.search.run import run
from expand.search.worker_plan import Workers
from expand.storage.run_directory import open_for_reading, open_for_writing

TINY = STUDIES / "tiny.py"


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0)  # Python's own part of a signal runs between two instructions


def test_a_signal_waits_for_what_must_be_whole_and_has_its_exit_code():
    done = []
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match="terminated") as raised, signals.handled(), signals.deferred():
        send(signal.SIGTERM)
        done.append("written")
    assert done == ["written"] and raised.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is before and signals.noted() is None


def test_long_work_within_is_ended_at_once():
    with (
        pytest.raises(Interrupted, match="interrupted") as raised,
        signals.handled(),
        signals.deferred(),
        signals.immediate(),
    ):
        send(signal.SIGINT)
        raise AssertionError("too late")
    assert raised.value.exit_code == 130


def test_a_signal_that_other_code_swallowed_is_raised_again():
    with pytest.raises(Interrupted), signals.handled():
        with contextlib.suppress(BaseException):
            send(signal.SIGTERM)
        signals.check()


def test_a_signal_where_python_cannot_raise_prints_nothing_and_is_not_lost(capfd):
    class Freed:
        def __del__(self) -> None:
            send(signal.SIGTERM)

    with pytest.raises(Interrupted), signals.handled():
        Freed()
        signals.check()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("name", "code", "word"), [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated")])
def test_a_signal_while_the_command_is_still_imported_ends_it_as_later(tmp_path, name, code, word):
    (tmp_path / "typer.py").write_text(f"import os, signal\nos.kill(os.getpid(), signal.{name})\n")
    path = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    words = [sys.executable, "-m", "expand", "run", "--help"]  # a process of its own, that has imported nothing
    done = subprocess.run(words, env=path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (code, f"expand: {word}\n")


def test_a_second_signal_ends_a_process_that_does_not_end():
    code = """
import os, signal, time
from expand.core import signals
signals.PATIENCE = 0.1
with signals.handled(), signals.deferred():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=30).returncode == 143


def test_signals_during_writes_leave_no_lock_on_the_database(tmp_path):
    study = load_study(str(TINY))
    with open_for_writing(tmp_path, facts_of(study), study) as record:
        cost = Cost(200_000, 10, 10, 10, ((3, 2, 16, 16),))
        number = record.open_trial(Suggestion(study.space.start, 2, 0, kind="start"), cost, study.space)
        for turn in range(40):
            with pytest.raises(Interrupted), signals.handled():
                timer = threading.Timer(0.001 + 0.0005 * turn, os.kill, (os.getpid(), signal.SIGTERM))
                timer.start()
                while True:
                    with signals.deferred():
                        record.epoch(number, [Epoch(turn, 1.0, 0.5)])
            timer.join()
            record.note(number, interrupted=turn)  # raises after a minute where the database is locked
            assert record.trial(number).interrupted == bool(turn)


def test_what_cannot_be_run_leaves_no_folder(squares, tmp_path):
    def fails(folder: Path, request: Request) -> None:
        with pytest.raises(UsageError):
            run(request, folder, Workers(0, 1), PlainLines(Console(quiet=True)))

    fails(tmp_path / "deep" / "new", Request(str(TINY), data=str(tmp_path / "nowhere")))
    fails(tmp_path / "new", Request(str(TINY), settings=("recipe.epochs=0",), data=str(squares)))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    fails(tmp_path / "mine", Request(str(TINY), data=str(tmp_path / "nowhere")))
    assert (tmp_path / "mine").is_dir()


def test_only_what_a_dead_driver_left_is_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(ray_processes, "LONGEST_TEMP", 1000)
    code = """
import os, signal
from expand.search import ray_processes
ray_processes.LONGEST_TEMP = 1000
with ray_processes.scratch_folder() as folder:
    (folder / "session").mkdir()
    print(folder)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=30)
    (left,) = tmp_path.iterdir()
    with ray_processes.scratch_folder() as first:
        assert not left.exists()
        with ray_processes.scratch_folder() as second:
            assert first.exists() and second.exists()
    assert list(tmp_path.iterdir()) == []


def chaos(*arguments: str, timeout: float) -> None:
    command = [sys.executable, str(ROOT / "tests" / "chaos.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(900)  # a minute, but starts take many times as long where others use the cores
def test_a_dozen_kills_change_nothing():
    chaos("--kills", "12", "--steps", "1", timeout=850)


@pytest.mark.heavy
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", [("--kills", "40"), ("--signals", "5")])
def test_more_kills_and_signals_change_nothing(kind):
    chaos(*kind, "--seed", "1", timeout=1700)


@pytest.mark.heavy
@pytest.mark.ray
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", [("--kills", "12"), ("--signals", "3")])
def test_kills_and_signals_with_ray_change_nothing(kind):
    chaos(*kind, "--seed", "2", "--workers", "2", timeout=1700)


def start(squares: Path, folder: Path, *extra: str, **environment: str) -> subprocess.Popen[str]:
    """A search on Ray, once a trial's first epoch is over."""
    process = subprocess.Popen(
        [sys.executable, "-m", "expand", "run", str(TINY), "--data", str(squares), "--out", "run", "--workers", "1",
         "--set", "recipe.epochs=400", *extra],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)} | environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if "epoch 1/400" in line:
            return process
    raise AssertionError(process.stderr.read() if process.stderr else "")


def child(process: subprocess.Popen[str], name: str) -> psutil.Process:
    return next(p for p in psutil.Process(process.pid).children() if p.name() == name)


@pytest.mark.heavy
@pytest.mark.ray
@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_a_lost_cluster_ends_the_driver_with_one_line(squares, tmp_path, name):
    process = start(squares, tmp_path)
    children = psutil.Process(process.pid).children(recursive=True)
    child(process, name).kill()
    began = time.monotonic()
    _, error = process.communicate(timeout=30)
    assert process.returncode == 1 and time.monotonic() - began < 30
    assert error.count("\n") == 1 and "has ended; run the same command again to resume" in error
    assert psutil.wait_procs(children, timeout=2)[1] == []
    assert any(trial.interrupted for trial in open_for_reading(tmp_path / "run").trials())


@pytest.mark.heavy
@pytest.mark.ray
def test_a_given_cluster_that_is_lost_ends_the_driver(squares, tmp_path):
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64, "RAY_USAGE_STATS_ENABLED": "0"}
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--port=6391", "--block", "--num-cpus=2",
           "--include-dashboard=false", f"--temp-dir={tmp_path.parents[2]}/r"]  # fmt: skip
    head = subprocess.Popen(ray, env=os.environ | token, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(15)
        process = start(squares, tmp_path, "--address", "127.0.0.1:6391", **token)
        seen = psutil.Process(head.pid).children(recursive=True)
        next(p for p in seen if p.name() == "gcs_server").kill()
        began = time.monotonic()
        _, error = process.communicate(timeout=40)
        assert process.returncode == 1 and time.monotonic() - began < 30, error
        assert "run the same command again to resume" in error
        assert any(trial.interrupted for trial in open_for_reading(tmp_path / "run").trials())
    finally:
        head.kill()
        for each in seen:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


@pytest.mark.heavy
@pytest.mark.ray
def test_rays_ports_ask_for_a_token(squares, tmp_path):
    process = start(squares, tmp_path)
    try:
        raylet = child(process, "raylet")
        address = next(word.partition("=")[2] for word in raylet.cmdline() if word.startswith("--gcs-address="))
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": raylet.environ()["RAY_AUTH_TOKEN"]}

        def status(**tokens: str) -> tuple[int, str]:
            command = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address]
            done = subprocess.run(command, env=os.environ | tokens, capture_output=True, text=True, timeout=60)
            return done.returncode, done.stdout + done.stderr

        assert status(**token)[0] == 0
        for tokens in ({"RAY_AUTH_MODE": "disabled"}, token | {"RAY_AUTH_TOKEN": "f" * 64}):
            code, output = status(**tokens)
            assert code != 0 and "uthentication" in output, output[-500:]
    finally:
        process.terminate()
        process.communicate(timeout=20)
