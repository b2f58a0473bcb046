"""Records of no training, for tests of several folders and for the processes that they start and kill (`import *`)."""

from __future__ import annotations

from pathlib import Path

from expand.core.errors import ExpandError  # noqa: F401
from expand.core.outcome import Completed, Failed  # noqa: F401
from expand.core.study import Study
from expand.core.trial import Cost, Metrics, Suggestion, TrialState  # noqa: F401
from expand.storage import run_directory as records
from expand.strategies.stepwise import Stepwise
from search_spaces.x3d import X3DSpace

SPACE = X3DSpace()
COST = Cost(2_000_000, 300, 250, 10, ((3, 1, 16, 16),))


def study(**fields) -> Study:
    return Study("test", SPACE, Stepwise(), **fields)


def opened(folder: Path, of: Study | None = None):
    of = of or study()
    return records.open_for_writing(folder, {"study": described(of)}, of)


def described(of: Study) -> dict:
    return {
        "name": of.name, "seeds": list(of.seeds),
        "objectives": [
            {"name": o.name, "direction": o.direction, "known_before_training": o.known_before_training, "limit": o.limit}
            for o in of.objectives
        ],
    }  # fmt: skip


def suggestion(**values) -> Suggestion:
    return Suggestion(SPACE.architecture(**values), epochs=2, seed=0, step=1, axes=("frames",), parent=0, reason="why")
