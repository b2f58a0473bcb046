"""What stands around the trials of a run: where it is, what it was trained on and how, from the files beside the record.

Everything here may be missing: an older run, one that was copied in part. Standard library only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from expand.core.accuracy import in_percent
from expand.core.errors import UsageError
from expand.core.files import escaped
from expand.storage.facts import Facts
from expand.storage.folder import Environment, Listing, read_environment, read_listing
from expand.storage.test_results import TestResult, all_tests, confusion_of, official


@dataclass(frozen=True)
class About:
    """`name` tells the run among others. `facts` is study.json, `environment` environment.json, `classes` holds for each class
    its number of videos a split (from data.json), `tested` a line for each network scored on the test split, `tests`
    the same with its classes and confusions, as plain JSON. Empty where there is none."""

    name: str
    facts: Facts | None = None
    environment: Environment = field(default_factory=Environment)
    classes: dict[str, dict[str, int]] = field(default_factory=dict)
    tested: tuple[str, ...] = ()
    tests: tuple[dict[str, Any], ...] = ()


def about_run(folder: Path, facts: Facts) -> About:
    """What the run directory says beside its record."""
    tests = official(all_tests(folder), facts.data.fingerprint)
    try:
        listing = read_listing(folder) or {}
    except UsageError:
        listing = {}
    return About(
        escaped(folder.resolve().name), facts, read_environment(folder), videos_by_class(listing),
        tuple(_tested(tests[number]) for number in sorted(tests)),
        tuple(_whole(folder, tests[number]) for number in sorted(tests)),
    )  # fmt: skip


def _tested(test: TestResult) -> str:
    rate = test.video_top1
    return (
        f"trial {test.trial} ({test.label}): {in_percent(rate.value, rate.standard_error)} of "
        f"{test.videos} videos, {test.views} views of {test.crop} pixels"
    )


MOST_CLASSES = 60  # whose confusion matrix a page shows


def _whole(folder: Path, test: TestResult) -> dict[str, Any]:
    """One network's test for the page: fractions, videos a class, and the confusion matrix of up to `MOST_CLASSES`."""
    rate, classes = test.video_top1, test.classes
    return {
        "trial": test.trial, "top1": rate.value, "standard_error": rate.standard_error, "videos": test.videos,
        "views": test.views, "crop": test.crop, "classes": [asdict(row) for row in classes],
        "confusion": confusion_of(folder, test) if len(classes) <= MOST_CLASSES else [],
    }  # fmt: skip


def videos_by_class(listing: Listing) -> dict[str, dict[str, int]]:
    """class -> split -> videos."""
    counts: dict[str, Counter[str]] = {}
    for name, split, _ in listing.values():
        counts.setdefault(name, Counter())[split] += 1
    return {name: dict(counts[name]) for name in sorted(counts)}


def unique_names(names: Sequence[str]) -> list[str]:
    """The names with a number behind those that come more than once: run, run-2."""
    taken: list[str] = []
    for name in names:
        tries = (name if n == 1 else f"{name}-{n}" for n in count(1))
        taken.append(next(each for each in tries if each not in taken))
    return taken
