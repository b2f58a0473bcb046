"""Records of no training, for tests of several folders and for the processes that they start and kill (`import *`)."""

from __future__ import annotations

from pathlib import Path

from expand.core.errors import ExpandError  # noqa: F401
from expand.core.outcome import Completed, Failed  # noqa: F401
from expand.core.study import Study
from expand.core.trial import Cost, Metrics, Suggestion, TrialState  # noqa: F401
from expand.storage import run_directory as records
from expand.storage.facts import Facts, StudyFacts, VideoCounts, VideoFacts
from expand.strategies.stepwise import Stepwise
from search_spaces.x3d import X3DSpace

SPACE = X3DSpace()
COST = Cost(2_000_000, 300, 250, 10, ((3, 1, 16, 16),))


def study(**fields) -> Study:
    return Study("test", SPACE, Stepwise(), **fields)


def facts_of(of: Study, **more) -> Facts:
    """study.json of a study on a few videos."""
    videos = VideoFacts("clips", "f" * 64, ("a", "b"), VideoCounts(4, 2, 2))
    return Facts(**{"study": StudyFacts.of(of), "data": videos} | more)


def opened(folder: Path, of: Study | None = None):
    of = of or study()
    return records.open_for_writing(folder, facts_of(of), of)


def suggestion(**values) -> Suggestion:
    return Suggestion(SPACE.architecture(**values), epochs=2, seed=0, step=1, axes=("frames",), parent=0, reason="why")
