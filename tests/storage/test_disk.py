"""Disks that are full or may not be written to, and processes that are killed while they write: for real, in a mount namespace
of the test's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, STUDIES


def _namespace() -> str:
    """Why no disk of a given size can be had here, if so."""
    try:
        probe = subprocess.run(
            ["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=64k tmpfs /mnt"],
            capture_output=True,
            timeout=20,
            text=True,
        )
    except FileNotFoundError:
        return "the unshare command is not installed"
    return f"no mount namespace here: {probe.stderr.strip()}" if probe.returncode else ""


refused = _namespace()
small_disk = pytest.mark.skipif(bool(refused), reason=refused)
SCRIPT = """
import json, os, subprocess, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
disk = Path(sys.argv[1])
def fill():
    with (disk / "others").open("wb", buffering=0) as others:
        try:
            while others.write(b"0" * 512): pass
        except OSError: pass
def free():
    (disk / "others").unlink()
"""


def on_a_disk(tmp_path: Path, size: str, script: str) -> dict:
    """Runs a script whose `disk` is a file system of this size; its last line of JSON."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size={size} tmpfs "$1" && exec "$0" -c "$3" "$1" "$2"',
         sys.executable, str(disk), str(ROOT / "tests"), SCRIPT + script],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@small_disk
def test_a_full_disk_under_the_database_keeps_every_recorded_trial_and_goes_on_once_there_is_room(tmp_path):
    script = """
from tiny_records import *
fill_at, told, error = 3, [], ""
with opened(disk / "run") as record:
    try:
        for index in range(200):
            if index == fill_at: fill()
            number = record.open_trial(suggestion(frames=2), COST, SPACE)
            record.complete(number, Completed(Metrics(0.5, 0.9, 1.0, 40, 2)))
            told.append(number)
    except ExpandError as full:
        error = str(full)
kept = [t.number for t in records.open_for_reading(disk / "run").trials() if t.state is TrialState.COMPLETE]
try:
    with opened(disk / "run"): started = True
except ExpandError as full:
    started = str(full)
free()
with opened(disk / "run") as record:
    for trial in record.trials():
        if not trial.state.ended: record.fail(trial.number, Failed("left"))
    number = record.open_trial(suggestion(frames=2), COST, SPACE)
    record.complete(number, Completed(Metrics(0.5, 0.9, 1.0, 40, 2)))
    last = record.trials()[-1]
print(json.dumps({"told": told, "kept": kept, "error": error, "started": started, "last": last.state}))
"""
    done = on_a_disk(tmp_path, "700k", script)
    assert len(done["told"]) >= 3 and set(done["told"]) <= set(done["kept"])
    assert "full" in done["error"] and "Free the disk" in done["error"] and "\n" not in done["error"]
    assert "No space left on device" in done["started"]  # refused before any work
    assert done["last"] == "complete"


@small_disk
def test_a_full_disk_under_a_checkpoint_keeps_the_last_one(tmp_path):
    script = """
import torch
from expand.core.outcome import Completed, Failed
from expand.training import checkpoint
path, saved = disk / "run" / "last.pt", []
state = {"tensor": torch.arange(20_000.0)}
try:
    for step in range(100):
        if step == 3:
            fill()
            state = {"tensor": torch.arange(40_000.0)}  # else what the one before the last leaves would be enough
        checkpoint.save(path, state | {"step": step})
        saved.append(step)
except OSError as error:
    reason = error.strerror
found, problems = checkpoint.load_latest(path)
names = sorted(each.name for each in path.parent.iterdir())
free()
checkpoint.save(path, state | {"step": 99})
after, _ = checkpoint.load_latest(path)
print(json.dumps({"saved": saved, "reason": reason, "step": found["step"], "problems": problems, "names": names,
                  "whole": bool((found["tensor"] == torch.arange(20_000.0)).all()), "after": after["step"]}))
"""
    done = on_a_disk(tmp_path, "400k", script)
    assert done["reason"] == "No space left on device"
    assert done["step"] == done["saved"][-1] and done["whole"] and not done["problems"]
    assert set(done["names"]) <= {"last.pt", "last.pt.previous"} and done["after"] == 99


def test_a_process_killed_while_it_saves_leaves_a_checkpoint_that_loads(tmp_path):
    """50 times kill -9 at moments of their own; what loads is never older than what the writer had said to be saved."""
    script = """
import random, signal, sys, time
from pathlib import Path
import json, os, torch
from expand.training import checkpoint
torch.set_num_threads(1)
path, dice = Path(sys.argv[1]) / "last.pt", random.Random(0)
state, step, kills = {"tensor": torch.arange(50_000.0)}, 0, 0
for _ in range(50):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        while True:
            step += 1
            checkpoint.save(path, state | {"step": step})
            os.write(writer, step.to_bytes(4, "big"))
    os.close(writer)
    first = os.read(reader, 4)  # one is saved
    time.sleep(dice.uniform(0, 0.01))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    said = int.from_bytes((first + b"".join(iter(lambda: os.read(reader, 4096), b"")))[-4:], "big")
    os.close(reader)
    found, problems = checkpoint.load_latest(path)
    assert found is not None and not problems, problems
    assert found["step"] in (said, said + 1), (found["step"], said)
    assert bool((found["tensor"] == state["tensor"]).all())
    step, kills = found["step"], kills + 1
print(kills)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=100,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.strip() == "50", done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_read_only_run_directory_is_said_before_anything_is_read_or_trained(tmp_path, squares):
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(0o555)
    for parent in list(folder.parents)[:4]:
        if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
            parent.chmod(0o755)
    command = ["run", str(STUDIES / "tiny.py"), "--data", str(squares), "--workers", "0", "--out", str(folder)]
    readable = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", "import typer"],
        capture_output=True, cwd=tmp_path,
    )  # fmt: skip
    if readable.returncode:
        pytest.skip("another user cannot read this Python")
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-m", "expand", *command],
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200", "HOME": "/nonexistent"}, cwd=tmp_path,
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert f"cannot write to {folder}: Permission denied" in done.stderr and "Traceback" not in done.stderr
    assert not list(folder.iterdir())


@small_disk
def test_a_full_disk_is_said_before_training_starts(tmp_path):
    script = """
from expand.storage import folder as folders
from expand.core.errors import ExpandError
(disk / "run").mkdir()
fill()
try:
    folders.check_folder(disk / "run")
    said = ""
except ExpandError as error:
    said = str(error)
print(json.dumps({"said": said, "left": [each.name for each in (disk / "run").iterdir()]}))
"""
    done = on_a_disk(tmp_path, "64k", script)
    assert "No space left on device; give another place with --out" in done["said"] and done["left"] == []
