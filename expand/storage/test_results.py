"""Test results of a run, stored beside its weights in `artifacts/N/tests/*.json`: reading, matching, counting.

`expand test` writes them (`expand/evaluation/test_split.py`); report and export read them.
"""

from __future__ import annotations

import csv
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from expand.core.accuracy import ClassRow, Rate
from expand.core.clip import Clip
from expand.core.errors import ExpandError
from expand.core.files import read_json
from expand.storage.serialize import from_plain, to_plain

FORMAT = "expand-test-1"


@dataclass(frozen=True)
class Asked:
    """The conditions that determine the result of a test.

    Attributes:
        weights_sha256: of the weights' file.
        videos_sha256: of the scored videos' contents and labels.
        views: temporal clips x crops of a video, such as "10x3".
        crop: height of a crop in pixels.
        scale: short side over the crop, or height and width over it.
        cache_side: largest short side of the stored frames, in pixels.
    """

    weights_sha256: str
    videos_sha256: str
    split: str
    views: str
    crop: int
    scale: float | tuple[float, float]
    cache_side: int


@dataclass(frozen=True)
class TestCost:
    """Multiply-adds and parameters, by `convention`."""

    __test__: ClassVar = False  # nothing for pytest to collect

    macs_per_view: int
    macs_per_video: int
    params: int
    convention: str


@dataclass(frozen=True, kw_only=True)
class TestResult(Asked):
    """One network scored on the videos of one split.

    Attributes:
        own_videos: whether they are of the run's own data.
        left_out: videos that could not be read.
        held: videos that are shorter than a clip and were padded by repeating their last frame.
        view_number: views per video.
        short_side: of the resized frames, in pixels.
        class_mean: mean accuracy of the classes that have a video.
        seconds: duration of the scoring.
        tested: when, in ISO 8601.
        looks: how often these weights were scored on these videos.
        from_file: read from its file without scoring again; not stored.
    """

    __test__: ClassVar = False

    format: str = FORMAT
    trial: int
    label: str
    seed: int = 0
    epochs: int = 0
    validation_top1: float
    study: str
    data: str
    own_videos: bool
    data_fingerprint: str
    videos: int
    left_out: tuple[str, ...] = ()
    held: int = 0
    fps: float
    view_number: int
    short_side: int
    clip: tuple[Clip, ...] = ()
    architecture: Mapping[str, Any] = field(default_factory=dict)
    cost: TestCost
    scoring: str = ""
    notes: tuple[str, ...] = ()
    video_top1: Rate
    video_top5: Rate
    clip_top1: Rate
    clip_top5: Rate
    loss: float
    class_mean: float
    classes: tuple[ClassRow, ...]
    device: str = ""
    precision: str = ""
    seconds: float = 0.0
    tested: str
    looks: int
    from_file: bool = False

    @property
    def asked(self) -> Asked:
        return Asked(
            self.weights_sha256, self.videos_sha256, self.split, self.views, self.crop, self.scale, self.cache_side
        )

    def plain(self) -> dict[str, object]:
        """The content of its file."""
        plain: dict[str, object] = to_plain(self)
        return plain if self.from_file else {name: value for name, value in plain.items() if name != "from_file"}


@dataclass(frozen=True)
class Tested:
    """Video top-1 on the run's own test split, of one trial or the mean of several, and its views ("10x3")."""

    top1: float
    standard_error: float
    videos: int
    views: str
    crop: int


def tests_folder(run: Path, trial: int) -> Path:
    return run / "artifacts" / f"{trial:06d}" / "tests"


def read_test(path: Path) -> TestResult | None:
    """One stored test; None if there is none.

    Raises:
        ExpandError: its file is damaged.
    """
    try:
        test = from_plain(read_json(path), TestResult)
        if test.format != FORMAT:
            raise ValueError(f"its format is {test.format}")
        return test
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ExpandError(f"{path} is no test of ours ({reason}): delete it and run `expand test` again") from None


def all_tests(run: Path) -> list[TestResult]:
    """All stored tests of a run, the newest first."""
    found = [read_test(path) for path in sorted((run / "artifacts").glob("*/tests/*.json"))]
    return sorted((test for test in found if test), key=lambda test: test.tested, reverse=True)


def official(tests: Sequence[TestResult], fingerprint: str) -> dict[int, TestResult]:
    """The newest test of each trial on the test split of the run's own videos, which have this fingerprint."""
    newest: dict[int, TestResult] = {}
    for test in tests:
        if test.split == "test" and test.data_fingerprint == fingerprint:
            newest.setdefault(test.trial, test)
    return newest


def confusion_of(run: Path, test: TestResult) -> list[list[int]]:
    """The confusion matrix from the file beside a stored test: rows are true classes, columns answers. Empty if the file is
    missing or damaged."""
    for path in tests_folder(run, test.trial).glob("*.json"):
        if read_test(path) != test:
            continue
        try:
            with (path.with_suffix("") / "confusion.csv").open(encoding="utf-8", newline="") as file:
                rows = [[int(cell) for cell in row[1:]] for row in list(csv.reader(file))[1:]]
        except (OSError, ValueError):
            return []
        return rows if all(len(row) == len(rows) == len(test.classes) for row in rows) else []
    return []


def looks(tests: Sequence[TestResult], test: TestResult) -> tuple[int, int]:
    """How many networks of a run were scored on the videos of this test, and the total number of scorings."""
    same = [other for other in tests if other.videos_sha256 == test.videos_sha256]
    return len({other.trial for other in same}), sum(other.looks for other in same)


def summary(tests: Mapping[int, TestResult], numbers: Sequence[int]) -> Tested | None:
    """The test result of a candidate with these trials: the mean over those scored with the same views as the newest."""
    own = sorted((tests[n] for n in numbers if n in tests), key=lambda test: test.tested, reverse=True)
    if not own:
        return None
    newest = own[0]
    protocol = (newest.views, newest.crop, newest.scale, newest.videos_sha256)
    rates = [test.video_top1 for test in own if (test.views, test.crop, test.scale, test.videos_sha256) == protocol]
    return Tested(
        statistics.fmean(rate.value for rate in rates),
        statistics.fmean(rate.standard_error for rate in rates),
        newest.videos,
        newest.views,
        newest.crop,
    )
