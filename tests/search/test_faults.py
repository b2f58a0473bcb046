"""Faults around a candidate: whose they are, that they fail nobody else, and that what they took is tried again."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from conftest import ROOT, STUDIES
from rich.console import Console
from tiny_records import facts_of

from expand.config.loading import load_study
from expand.config.request import Request
from expand.core.errors import ExpandError, Unavailable
from expand.core.outcome import Retry
from expand.core.study import Recipe
from expand.core.trial import Trial
from expand.data.cache.clip_cache import prepare
from expand.data.read_source import read_source
from expand.data.video.checks import DamagedVideo
from expand.monitoring.progress import PlainLines
from expand.search import faults
from expand.search.faults import Fault, Verdict, fault_of, verdict
from expand.search.job import Job, evaluate, fruitless_starts
from expand.search.run import run
from expand.search.worker_plan import Workers
from expand.storage.run_directory import open_for_reading, open_for_writing
from search_spaces.x3d import X3DSpace

pytestmark = pytest.mark.usefixtures("no_pictures")
TINY, FAULTY = STUDIES / "tiny.py", STUDIES / "faulty.py"
LOADER = "Caught {} in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  ...\n{}: {}"


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (ArithmeticError("in the model"), Fault.OWN),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (8x16 and 32x3)"), Fault.OWN),
        (RuntimeError("CUDA error: device-side assert triggered"), Fault.OWN),
        (RuntimeError("CUDA error: invalid configuration argument"), Fault.OWN),
        (ExpandError("non-finite loss (nan) at step 3 of epoch 1"), Fault.OWN),
        (RuntimeError(LOADER.format("ValueError", "ValueError", "no such flip")), Fault.OWN),
        (MemoryError(), Fault.MEMORY),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), Fault.MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes. Error code 12"), Fault.MEMORY),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), Fault.MEMORY),
        (OSError(12, "Cannot allocate memory"), Fault.MEMORY),
        (FileNotFoundError(2, "No such file or directory"), Fault.SURROUNDINGS),
        (OSError(116, "Stale file handle"), Fault.SURROUNDINGS),
        (TimeoutError(110, "Connection timed out"), Fault.SURROUNDINGS),
        (Unavailable("no clip cache at /cache/clips/x"), Fault.SURROUNDINGS),
        (DamagedVideo("a.mp4", "gone or changed"), Fault.SURROUNDINGS),
        (RuntimeError(LOADER.format("DamagedVideo", "expand.data.video.checks.DamagedVideo", "a.mp4: gone")), Fault.SURROUNDINGS),
        (OSError(LOADER.format("OSError", "OSError", "[Errno 5] Input/output error")), Fault.SURROUNDINGS),
        (caused(ExpandError("cannot be read"), OSError(5, "Input/output error")), Fault.SURROUNDINGS),
        (torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"), Fault.SURROUNDINGS),
        (RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable"), Fault.SURROUNDINGS),
        (RuntimeError("No CUDA GPUs are available"), Fault.SURROUNDINGS),
        (RuntimeError("DataLoader timed out after 120 seconds"), Fault.SURROUNDINGS),
        (RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. "), Fault.CRASH),
        (RuntimeError("DataLoader worker (pid(s) 12, 13) exited unexpectedly"), Fault.CRASH),
        (RuntimeError("unable to write to file </torch_12_3_4>: No space left on device (28)"), Fault.CRASH),
        (ConnectionResetError(104, "Connection reset by peer"), Fault.CRASH),  # torch's words where a loader process dies early
        (RuntimeError("CUDA error: unspecified launch failure"), Fault.CRASH),
        (RuntimeError("1 worker(s) were killed due to the node running low on memory."), Fault.MEMORY),  # Ray's words
        (RuntimeError("The actor is dead because its node has died. Node Id: 5367"), Fault.SURROUNDINGS),
        (RuntimeError("The actor 6e is unavailable: The actor is temporarily unavailable: RpcError"), Fault.SURROUNDINGS),
    ],
    ids=lambda value: repr(value)[:50],
)  # fmt: skip
def test_whose_fault_an_error_is(error, fault):
    assert fault_of(error) is fault


@pytest.mark.parametrize(
    ("fault", "tries", "alone", "others", "expected"),
    [
        (Fault.OWN, 1, False, True, Verdict.FAIL),
        (Fault.SURROUNDINGS, 1, True, True, Verdict.RETRY),
        (Fault.SURROUNDINGS, 4, True, False, Verdict.RETRY),
        (Fault.SURROUNDINGS, 5, True, False, Verdict.HALT),
        (Fault.SURROUNDINGS, 5, False, True, Verdict.FAIL),
        (Fault.MEMORY, 1, False, True, Verdict.RETRY),
        (Fault.MEMORY, 1, True, False, Verdict.RETRY),
        (Fault.MEMORY, 2, False, True, Verdict.ALONE),
        (Fault.MEMORY, 3, False, True, Verdict.ALONE),  # the third beside others: that shows nothing
        (Fault.MEMORY, 3, True, False, Verdict.FAIL),
        (Fault.CRASH, 2, False, True, Verdict.ALONE),
        (Fault.CRASH, 3, True, True, Verdict.FAIL),
    ],
)
def test_what_follows_from_a_fault(fault, tries, alone, others, expected):
    assert verdict(fault, tries, 3, alone=alone, others_went_on=others) is expected


# --- in this process --------------------------------------------------------------------------------------------------


class Meddling(PlainLines):
    """Plain lines, kept; `meddle` hears of each and may break or mend things."""

    def __init__(self, meddle=lambda line: None) -> None:
        super().__init__(Console(quiet=True))
        self.lines: list[str] = []
        self.meddle = meddle

    def _line(self, text: str) -> None:
        self.lines.append(text)
        self.meddle(text)


def request_of(squares: Path, reference: Path = TINY, *settings: str) -> Request:
    """A start and two candidates of one epoch."""
    return Request(str(reference), data=str(squares), settings=("budget.steps=1", "recipe.epochs=1", *settings))


def trials_of(folder: Path) -> tuple[Trial, ...]:
    return open_for_reading(folder).trials()


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("EXPAND_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "clips"


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(faults, "WAITS", (0.05,) * 4)


def test_a_cache_that_is_away_for_a_moment_fails_no_trial(squares, tmp_path, own_cache, soon):
    def meddle(line: str) -> None:
        if " complete: " in line and not (tmp_path / "moved").exists():
            own_cache.rename(tmp_path / "away")
            (tmp_path / "moved").touch()
        if "tried again" in line and not own_cache.exists():
            (tmp_path / "away").rename(own_cache)

    watch = Meddling(meddle)
    trials = run(request_of(squares), tmp_path / "run", Workers(0, 1), watch).trials()
    assert [trial.state for trial in trials] == ["complete"] * 3
    struck = [trial for trial in trials if trial.retries]
    assert len(struck) == 1 and struck[0].error == ""
    (entry,) = struck[0].retries
    assert entry.fault == "surroundings" and "no clip cache at" in entry.error and entry.epochs == 0
    assert sum("tried again in 0.05 s or later" in line for line in watch.lines) == 1


def test_a_cache_that_stays_away_halts_the_search_which_can_be_resumed(squares, tmp_path, own_cache, soon):
    def meddle(line: str) -> None:
        if " complete: " in line:
            own_cache.rename(tmp_path / "away")

    halted = r"could not be trained, nor could any other.*no clip cache at.*same command again"
    with pytest.raises(ExpandError, match=halted):
        run(request_of(squares), tmp_path / "run", Workers(0, 1), Meddling(meddle))
    left = trials_of(tmp_path / "run")
    assert sorted(trial.state for trial in left) == ["complete", "running", "running"]
    assert max(len(trial.retries) for trial in left) == 5
    assert not open_for_reading(tmp_path / "run").finished
    (tmp_path / "away").rename(own_cache)
    record = run(request_of(squares), tmp_path / "run", Workers(0, 1), Meddling())
    assert {trial.state for trial in record.trials()} == {"complete"} and record.finished


@pytest.mark.parametrize(
    "memory",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        pytest.param(MemoryError(), marks=pytest.mark.heavy),
    ],
)
def test_memory_that_never_suffices_fails_its_candidate_only(squares, tmp_path, soon, monkeypatch, memory):
    import expand.search.job as module

    train = module.train

    def short(network, clips, *rest, **keywords):
        if clips[0].frames > 2:
            raise memory
        return train(network, clips, *rest, **keywords)

    monkeypatch.setattr(module, "train", short)
    trials = run(request_of(squares), tmp_path / "run", Workers(0, 1), Meddling()).trials()
    assert sorted(trial.state for trial in trials) == ["complete", "complete", "failed"]
    failed = next(trial for trial in trials if trial.state == "failed")
    assert (
        "out of memory" in failed.error
        and "3 times in a row, the last time with no other trial running" in failed.error
    )
    assert failed.attempts == 3 and [entry.fault for entry in failed.retries] == ["memory"] * 3


def test_what_a_candidate_held_is_free_once_it_is_out_of_memory(squares, tmp_path, monkeypatch):
    caches = tuple(map(str, prepare(read_source(squares), side=24)))
    space, held = X3DSpace(frames=2, stride=2, resolution=16, width=0.2, depth=0.2), []

    def short(network, *rest, **keywords):
        held.append(weakref.ref(network))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("expand.search.job.train", short)
    job = Job(
        0,
        space,
        space.start,
        Recipe(),
        1,
        0,
        *caches,
        str(tmp_path / "c" / "last.pt"),
        str(tmp_path / "w.safetensors"),
        1,
    )
    assert isinstance(evaluate(job, lambda entry: None), Retry)
    gc.collect()
    assert held[0]() is None


def test_an_error_while_an_error_is_handled_is_the_candidates_too(monkeypatch, tmp_path):
    """Torch's handler raises for a dead loader process between any two lines, also where the first error is put into words."""
    from expand.search import job as jobs

    told = jobs._ended_by
    calls = []

    def interrupted(error, *rest):
        calls.append(str(error))
        if len(calls) == 1:
            raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")
        return told(error, *rest)

    monkeypatch.setattr(jobs, "_ended_by", interrupted)
    nowhere = str(tmp_path / "no such cache")
    job = Job(0, X3DSpace(), X3DSpace().start, Recipe(), 1, 0, nowhere, nowhere, str(tmp_path / "last.pt"), nowhere, 1)
    ended = jobs.evaluate(job, lambda entry: None)
    assert isinstance(ended, Retry) and ended.fault is Fault.CRASH and len(calls) == 2


def test_loader_processes_that_are_killed_cost_a_try_and_leave_no_zombie(squares, tmp_path, soon, monkeypatch):
    monkeypatch.setenv("EXPAND_TEST_FAULT", "kill-loader")
    monkeypatch.setenv("EXPAND_TEST_FLAG", str(tmp_path / "flag"))
    request = request_of(squares, FAULTY, "recipe.loader_workers=1", "recipe.batch_size=2")
    before = set(psutil.Process().children(recursive=True))
    trials = run(request, tmp_path / "run", Workers(0, 1), Meddling()).trials()
    assert (tmp_path / "flag").exists() and {trial.state for trial in trials} == {"complete"}
    (struck,) = [trial for trial in trials if trial.attempts == 2]
    (entry,) = struck.retries
    assert entry.fault == "crash" and ("DataLoader worker" in entry.error or "Connection" in entry.error)
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.mark.heavy
def test_three_trials_in_a_row_that_nobody_is_known_to_be_at_fault_for_halt_the_search(
    squares, tmp_path, soon, monkeypatch
):
    def short(*arguments, **keywords):
        raise MemoryError

    monkeypatch.setattr("expand.search.job.train", short)
    with pytest.raises(ExpandError, match=r"3 trials in a row.*out of memory.*--retry-failed"):
        run(request_of(squares), tmp_path / "run", Workers(0, 1), Meddling())
    assert sorted(trial.state for trial in trials_of(tmp_path / "run")) == ["failed", "failed", "running"]
    monkeypatch.undo()
    trials = run(request_of(squares), tmp_path / "run", Workers(0, 1), Meddling(), retry_failed=True).trials()
    assert {trial.state for trial in trials} == {"complete"}
    kept = [[entry.fault for entry in trial.retries] for trial in trials if trial.retries]
    assert sorted(kept) == [["memory"] * 3, ["memory"] * 3 + ["failed"], ["memory"] * 3 + ["failed"]]


def test_retry_failed_opens_failed_trials_again_and_no_infeasible_ones(expand, squares, tmp_path, monkeypatch):
    flag = tmp_path / "flag"
    monkeypatch.setenv("EXPAND_TEST_FAULT", "raise")
    monkeypatch.setenv("EXPAND_TEST_FLAG", str(flag))
    request = Request(str(FAULTY), data=str(squares), limits=("params_m<=0.15",), settings=("recipe.epochs=1",))
    for _ in range(2):  # without the option a failed trial stays one
        trials = run(request, tmp_path / "run", Workers(0, 1), Meddling()).trials()
        assert sorted(trial.state for trial in trials) == ["complete", "failed", "infeasible"]
        flag.touch()
    words = ("run", FAULTY, "--data", squares, "--workers", 0, "--out", "run", "--limit", "params_m<=0.15", "--set")
    assert expand(*words, "recipe.epochs=1", "--retry-failed").returncode == 0
    after = trials_of(tmp_path / "run")
    assert sorted(trial.state for trial in after) == ["complete", "complete", "infeasible"]
    (again,) = [trial for trial in after if trial.retries]
    assert again.error == "" and "ArithmeticError" in again.retries[0].error and again.metrics is not None
    assert [trial.ended for trial in after if trial is not again] == [
        t.ended for t in trials if t.number != again.number
    ]


# --- starts -----------------------------------------------------------------------------------------------------------


def starts(folder: Path, stamps: list) -> Path:
    """A log of starts with these stamps of the checkpoint at each ("ended": an orderly end)."""
    folder.mkdir(parents=True)
    lines = [{"ended": 1.0} if stamp == "ended" else {"pid": 1, "checkpoint": stamp} for stamp in stamps]
    (folder / "attempts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "last.pt"


def test_only_starts_that_led_to_nothing_count(tmp_path):
    checkpoint = starts(tmp_path / "a", [None] * 5)
    assert fruitless_starts(checkpoint) == 5
    checkpoint.write_bytes(b"state")
    assert fruitless_starts(checkpoint) == 0  # the last of them wrote it
    stamp = checkpoint.stat().st_mtime_ns
    assert fruitless_starts(starts(tmp_path / "b", [None, None, "ended", None])) == 1
    (tmp_path / "a" / "attempts.jsonl").unlink()
    (tmp_path / "a").joinpath("attempts.jsonl").write_text(
        '{"pid": 1, "checkpoint": null}\n' + f'{{"pid": 1, "checkpoint": {stamp}}}\n' * 3 + '{"pid": 1, "check'
    )
    assert fruitless_starts(checkpoint) == 3
    old = starts(tmp_path / "old", [])
    (old.parent / "attempts.jsonl").write_text('{"pid": 1, "host": "a", "time": 1.0}\n' * 20)
    assert fruitless_starts(old) == 0 and fruitless_starts(tmp_path / "none" / "last.pt") == 0


@pytest.fixture
def ended_early(squares, tmp_path):
    """`ended_early(stamps)` makes a run whose only trial ended with its driver, and the log of its starts: request, folder."""

    def make(stamps: list) -> tuple[Request, Path]:
        request, study = Request(str(TINY), data=str(squares), settings=("budget.steps=0",)), load_study(str(TINY))
        run(request, tmp_path / "run", Workers(0, 1), Meddling())
        with open_for_writing(tmp_path / "run", facts_of(study), study) as record:
            record.reopen(0)
            starts(record.checkpoint(0).parent, stamps)
        return request, tmp_path / "run"

    return make


def test_a_training_that_gets_further_may_be_started_any_number_of_times(ended_early):
    """Each start is killed, as by a batch system's time limit, but has written a checkpoint."""
    request, folder = ended_early(list(range(30)))
    (folder / "checkpoints" / "000000" / "last.pt").write_bytes(b"damaged, but there")
    (trial,) = run(request, folder, Workers(0, 1), Meddling()).trials()
    assert trial.state == "complete" and trial.attempts == 31


def test_a_trial_that_ended_with_its_process_twelve_times_halts_the_search_and_the_user_decides(ended_early):
    """Kills from outside cannot be told from a candidate that takes all memory: neither fails it for ever, nor loops."""
    request, folder = ended_early([None] * 12)
    said = r"^trial 0: the process that trained it ended 12 times.*--retry-failed.*resumes without it$"
    with pytest.raises(ExpandError, match=said):
        run(request, folder, Workers(0, 1), Meddling())
    (trial,) = trials_of(folder)
    assert trial.state == "failed" and "ended 12 times in a row before a new checkpoint (--retry-failed" in trial.error
    for retry_failed, state in ((False, "failed"), (True, "complete")):
        record = run(request, folder, Workers(0, 1), Meddling(), retry_failed=retry_failed)
        assert [trial.state for trial in record.trials()] == [state] and record.finished


@pytest.mark.heavy
def test_a_candidate_that_kills_its_own_driver_ends_after_twelve_starts(expand, squares, tmp_path):
    words = ("run", FAULTY, "--data", squares, "--workers", 0, "--out", "run", "--set", "recipe.epochs=1")
    fault = {"EXPAND_TEST_FAULT": "kill-always", "EXPAND_TEST_FLAG": str(tmp_path / "flag")}
    assert expand(*words, **fault).returncode == -9
    (log,) = (tmp_path / "run" / "checkpoints").glob("*/attempts.jsonl")
    log.write_text(log.read_text() * 11)  # ten more such starts, in no time
    assert expand(*words, **fault).returncode == -9
    halted = expand(*words, **fault)
    assert halted.returncode == 1 and "ended 12 times in a row" in halted.stderr and halted.stderr.count("\n") == 1
    assert expand(*words, **fault).returncode == 0  # the same command goes on without it
    assert sorted(trial.state for trial in trials_of(tmp_path / "run")) == ["complete", "complete", "failed"]


# --- shared memory ----------------------------------------------------------------------------------------------------


def test_loader_processes_are_as_many_as_shared_memory_holds(tmp_path, monkeypatch):
    import expand.data.loader as loader

    clips = X3DSpace(frames=4, resolution=112).inputs(X3DSpace(frames=4, resolution=112).start)
    recipe = Recipe(batch_size=8, loader_workers=4)
    each = 4 * 8 * 4 * 3 * 4 * 112 * 112
    for free, expected in ((10 * each, 4), (4 * each, 4), (3 * each, 3), (each - 1, 0)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: type("Usage", (), {"free": free}))
        fitting, notes = loader.loaders_that_fit(recipe, clips)
        assert fitting == replace(recipe, loader_workers=expected) and len(notes) == (expected < 4)
    assert "0 of 4 loader processes" in notes[0] and "--shm-size" in notes[0]
    monkeypatch.setattr(loader, "SHARED_MEMORY", tmp_path / "none")
    assert loader.loaders_that_fit(recipe, clips) == (recipe, [])


def small_shared_memory() -> str:
    """Why /dev/shm can't be replaced by one of 64 MB for a process here; nothing if it can."""
    probe = ["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=64m none /dev/shm"]
    if shutil.which("unshare") is None:
        return "no unshare"
    done = subprocess.run(probe, capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else ""


@pytest.mark.heavy
def test_with_64_mb_of_shared_memory_clips_are_loaded_in_the_training_process(squares, tmp_path):
    if reason := small_shared_memory():
        pytest.skip(f"needs to be root: {reason}")
    settings = [
        "recipe.loader_workers=2",
        "recipe.batch_size=24",
        "recipe.epochs=1",
        "budget.steps=0",
        "space.resolution=224",
    ]
    command = [sys.executable, "-m", "expand", "run", TINY, "--data", squares, "--workers", "0", "--out", "run"]
    command += [part for setting in settings for part in ("--set", setting)]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=64m none /dev/shm && exec "$@"', "sh", *map(str, command)],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    assert "of 2 loader processes are used" in done.stdout and "--shm-size" in done.stdout
    (trial,) = trials_of(tmp_path / "run")
    assert trial.state == "complete" and not trial.retries
