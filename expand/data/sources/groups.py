"""Which clips belong on one side of a split, by their file names. Standard library only."""

from __future__ import annotations

import os
import re
import shlex
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from expand.core.errors import UsageError
from expand.data.manifest import Video
from expand.data.sources.records import Problems, Row, shown

LEAST_GROUPS = 3  # of each class, so that each can be in all three splits
# tried in this order, on paths such as class/name: a person's number, a folder between class and clip, a name's first part
GUESSES = (
    r"((?:person|subject|actor|user|speaker|patient|player)[_-]?\d+)",
    r"/([^/]+)/[^/]+$",
    r"/([^/_-]+)[_-][^/]*$",
)


def by_pattern(rows: Sequence[Row], pattern: str, root: Path, problems: Problems) -> list[Row]:
    """The rows with the group that a pattern finds in their path below the root, without the suffix: its first group in
    brackets, else all that it matches. A path without a match is a problem.

    Raises:
        UsageError: it is no regular expression.
    """
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"group pattern '{pattern}' (data.group_pattern): {error}; write a regular expression"
        ) from None
    named = []
    for row in rows:
        match = found.search(_name(shown(row.path, root)))
        if match is None or not (group := match[1] if found.groups else match[0]):
            problems.add(f"{row.where}: the group pattern '{pattern}' finds nothing in {shown(row.path, root)}")
        else:
            named.append(replace(row, group=group))
    return named if not problems.found else list(rows)


def guess(videos: Sequence[Video]) -> str:
    """A pattern that would put at least two clips into the average group and three groups or more into every class, or "".
    Only ever proposed: a wrong group leaks or wastes clips."""
    for pattern in GUESSES:
        matches = [re.search(pattern, _name(video.path)) for video in videos]
        if not all(matches):
            continue
        classes: dict[int, set[str]] = defaultdict(set)
        for video, match in zip(videos, matches, strict=True):
            classes[video.label].add(match[1] if match else "")
        groups = set().union(*classes.values())
        shared = any(sum(group in own for own in classes.values()) > 1 for group in groups)
        if len(groups) * 2 <= len(videos) and min(map(len, classes.values())) >= LEAST_GROUPS and shared:
            return pattern
    return ""


def note(videos: Sequence[Video], guessed: str) -> str:
    """The notice about videos that were split with each file as its own group."""
    text = (
        f"each of the {len(videos):,} files is its own group: clips of one person or of one source video may lie on both "
        "sides of the split, and accuracies are then too high"
    )
    if not guessed:
        return f"{text}. --group-pattern REGEX (data.group_pattern) says what of a name is the group"
    names = sorted({match[1] for video in videos if (match := re.search(guessed, _name(video.path)))})
    return (
        f"{text}. The names look like {len(names)} groups ({', '.join(names[:3])}, ...): if they are, say --group-pattern "
        f"{shlex.quote(guessed)}, or in a run --set {shlex.quote(f'data.group_pattern={guessed}')}"
    )


def _name(path: str) -> str:
    return os.path.splitext(path)[0].replace(os.sep, "/")
