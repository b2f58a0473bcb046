"""Searches on tiny clips, started as a user starts them, and what they found. For tests of several folders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from conftest import ROOT, STUDIES

from expand.core.trial import Trial
from expand.storage.run_directory import open_for_reading

TINY, FAULTY = STUDIES / "tiny.py", STUDIES / "faulty.py"


def trials_of(run: Path) -> tuple[Trial, ...]:
    return open_for_reading(run).trials()


def outcome(run: Path) -> list[tuple]:
    """What a run found, without times."""
    return [
        (t.number, t.state, t.suggestion.step, t.suggestion.axes, t.architecture, t.cost, t.metrics and t.metrics.top1)
        for t in trials_of(run)
    ]


def start(squares, folder: Path, *extra: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "expand", "run", str(TINY), "--data", str(squares), "--out", "run", *extra],
        cwd=folder, env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for_line(process: subprocess.Popen, words: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return
    raise AssertionError(f"no '{words}': {process.stderr.read() if process.stderr else ''}")
