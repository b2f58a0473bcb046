"""Facts about a run besides its trials: its name, study, data, environment and tests, read from the run directory.

Any of them may be missing, in an older run or in one that was copied in part. Standard library only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import ClassVar

from expand.core.accuracy import ClassRow, in_percent
from expand.core.errors import UsageError
from expand.core.files import escaped
from expand.storage.facts import Facts
from expand.storage.folder import Environment, Listing, read_environment, read_listing
from expand.storage.test_results import TestResult, all_tests, confusion_of, official


@dataclass(frozen=True)
class About:
    """Facts about a run. A field whose file is missing is empty.

    Attributes:
        name: of the run's folder, to tell runs apart on one page.
        facts: study.json.
        environment: environment.json.
        classes: class -> split -> number of videos, from data.json.
        tested: one line per network that was scored on the test split.
        tests: the same networks with accuracy per class and confusion matrix.
    """

    name: str
    facts: Facts | None = None
    environment: Environment = field(default_factory=Environment)
    classes: dict[str, dict[str, int]] = field(default_factory=dict)
    tested: tuple[str, ...] = ()
    tests: tuple[TestOnPage, ...] = ()


def about_run(folder: Path, facts: Facts) -> About:
    """Reads the facts of a run from its directory."""
    tests = official(all_tests(folder), facts.data.fingerprint)
    try:
        listing = read_listing(folder) or {}
    except UsageError:
        listing = {}
    return About(
        escaped(folder.resolve().name), facts, read_environment(folder), videos_by_class(listing),
        tuple(_tested(tests[number]) for number in sorted(tests)),
        tuple(_on_page(folder, tests[number]) for number in sorted(tests)),
    )  # fmt: skip


def _tested(test: TestResult) -> str:
    rate = test.video_top1
    return (
        f"trial {test.trial} ({test.label}): {in_percent(rate.value, rate.standard_error)} of "
        f"{test.videos} videos, {test.views} views of {test.crop} pixels"
    )


MOST_CLASSES = 60  # whose confusion matrix a page shows


@dataclass(frozen=True)
class TestOnPage:
    """One network's test for the page: fractions, accuracy per class, and the confusion matrix of up to `MOST_CLASSES`."""

    __test__: ClassVar = False  # nothing for pytest to collect

    trial: int
    top1: float
    standard_error: float
    videos: int
    views: str
    crop: int
    classes: tuple[ClassRow, ...]
    confusion: list[list[int]]


def _on_page(folder: Path, test: TestResult) -> TestOnPage:
    rate, classes = test.video_top1, test.classes
    confusion = confusion_of(folder, test) if len(classes) <= MOST_CLASSES else []
    return TestOnPage(
        test.trial, rate.value, rate.standard_error, test.videos, test.views, test.crop, classes, confusion
    )


def videos_by_class(listing: Listing) -> dict[str, dict[str, int]]:
    """class -> split -> videos."""
    counts: dict[str, Counter[str]] = {}
    for name, split, _ in listing.values():
        counts.setdefault(name, Counter())[split] += 1
    return {name: dict(counts[name]) for name in sorted(counts)}


def unique_names(names: Sequence[str]) -> list[str]:
    """The names, with a number added to repeated ones: run, run-2."""
    taken: list[str] = []
    for name in names:
        tries = (name if n == 1 else f"{name}-{n}" for n in count(1))
        taken.append(next(each for each in tries if each not in taken))
    return taken
