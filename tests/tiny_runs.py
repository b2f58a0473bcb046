"""Searches on tiny clips, started as a user starts them, and what they found. For tests of several folders."""

from __future__ import annotations

import os
from pathlib import Path

from conftest import ROOT, STUDIES
from forked import Command

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


def start(squares: Path, folder: Path, *extra: str) -> Command:
    arguments = ("run", TINY, "--data", squares, "--out", "run", *extra)
    return Command(*arguments, folder=folder, environment=os.environ | {"PYTHONPATH": str(ROOT)})
