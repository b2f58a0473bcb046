"""The tests that a run keeps beside its weights, `artifacts/N/tests/*.json`: reading, matching, counting. Standard library only.

`expand test` writes them (`expand/evaluation/test_split.py`); report and export take what they say.
"""

from __future__ import annotations

import csv
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expand.core.errors import ExpandError
from expand.core.files import read_json

FORMAT = "expand-test-1"
SAME = (
    "weights_sha256",
    "videos_sha256",
    "split",
    "views",
    "crop",
    "scale",
    "cache_side",
)  # what decides a test's numbers
SHAPE = {
    "format": str, "trial": int, "label": str, "tested": str, "videos": int, "looks": int, "data_fingerprint": str,
    "classes": [dict],
    "video_top1": {"value": float | int, "standard_error": float | int}, **dict.fromkeys(SAME, object),
}  # fmt: skip
Test = dict[str, Any]


@dataclass(frozen=True)
class Tested:
    """Video top-1 on the run's own test split, of one trial or the mean of several, and by which views ("10x3")."""

    top1: float
    standard_error: float
    videos: int
    views: str
    crop: int


def tests_folder(run: Path, trial: int) -> Path:
    return run / "artifacts" / f"{trial:06d}" / "tests"


def read_test(path: Path) -> Test | None:
    """One kept test; None where there is none.

    Raises:
        ExpandError: it is damaged.
    """
    try:
        test = read_json(path, SHAPE)
        if test["format"] != FORMAT:
            raise ValueError(f"its format is {test['format']}")
        return test
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ExpandError(f"{path} is no test of ours ({reason}): delete it and run `expand test` again") from None


def all_tests(run: Path) -> list[Test]:
    """Every kept test of a run, the newest first."""
    found = [read_test(path) for path in sorted((run / "artifacts").glob("*/tests/*.json"))]
    return sorted((test for test in found if test), key=lambda test: test["tested"], reverse=True)


def official(tests: Sequence[Test], fingerprint: str) -> dict[int, Test]:
    """Of each trial its newest test on the test split of the run's own videos, which this fingerprint tells."""
    newest: dict[int, Test] = {}
    for test in tests:
        if test["split"] == "test" and test["data_fingerprint"] == fingerprint:
            newest.setdefault(test["trial"], test)
    return newest


def confusion_of(run: Path, test: Test) -> list[list[int]]:
    """How many videos of each class (row) got which answer (column), from the file beside a kept test; empty where it is
    missing or damaged."""
    for path in tests_folder(run, test["trial"]).glob("*.json"):
        if read_test(path) != test:
            continue
        try:
            with (path.with_suffix("") / "confusion.csv").open(encoding="utf-8", newline="") as file:
                rows = [[int(cell) for cell in row[1:]] for row in list(csv.reader(file))[1:]]
        except (OSError, ValueError):
            return []
        return rows if all(len(row) == len(rows) == len(test["classes"]) for row in rows) else []
    return []


def looks(tests: Sequence[Test], test: Test) -> tuple[int, int]:
    """How many networks of a run have been scored on the videos of this test, and how often in all."""
    same = [other for other in tests if other["videos_sha256"] == test["videos_sha256"]]
    return len({other["trial"] for other in same}), sum(other["looks"] for other in same)


def summary(tests: Mapping[int, Test], numbers: Sequence[int]) -> Tested | None:
    """What is known of a candidate with these trials: the mean over those that were scored by the same views as the newest."""
    own = sorted((tests[n] for n in numbers if n in tests), key=lambda test: test["tested"], reverse=True)
    if not own:
        return None
    same = [test for test in own if all(test[k] == own[0][k] for k in ("views", "crop", "scale", "videos_sha256"))]
    rates = [test["video_top1"] for test in same]
    return Tested(
        statistics.fmean(rate["value"] for rate in rates),
        statistics.fmean(rate["standard_error"] for rate in rates),
        own[0]["videos"],
        own[0]["views"],
        own[0]["crop"],
    )
