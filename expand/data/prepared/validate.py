"""`expand data check`: decodes every clip completely and lists all problems of a source.

Kinds in `LEFT_OUT` are not used for training; other kinds are only reported. Of copies in two splits, the one in the test split
is kept, or else the one in validation. Copies with two labels are all left out.
"""

from __future__ import annotations

import os
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from expand.core.errors import ExpandError
from expand.core.files import escaped
from expand.data.manifest import SPLITS, Manifest, Video, stamp_of
from expand.data.parallel import in_order
from expand.data.video.checks import DamagedVideo
from expand.data.video.decode import Survey, survey

LEFT_OUT = ("damaged", "single frame", "copy")
KINDS = (*LEFT_OUT, "short", "variable rate", "no rate", "group in two splits")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Finding:
    """One problem of one video. `kind` is one of `KINDS`."""

    kind: str
    video: Video
    reason: str

    @property
    def path(self) -> str:
        return self.video.path

    def __str__(self) -> str:
        return escaped(f"{self.path}: {self.reason}")


@dataclass(frozen=True)
class Report:
    """All findings, and the survey of each video that can be decoded."""

    findings: tuple[Finding, ...]
    surveys: dict[Video, Survey]

    def spread(self) -> dict[str, dict[str, float]]:
        """Smallest, median and largest number of frames, seconds, frame rate and short side."""
        found = list(self.surveys.values())
        values: dict[str, list[float]] = {
            "frames": [each.info.frames for each in found],
            "seconds": [each.seconds for each in found],
            "fps": [each.info.fps for each in found],
            "short side": [min(each.info.width, each.info.height) for each in found],
        }
        return {
            name: {"min": min(of), "median": statistics.median(of), "max": max(of)} for name, of in values.items() if of
        }


def check(manifest: Manifest, *, shortest: int = 2, progress: Progress | None = None) -> Report:
    """Decodes everything and lists the problems.

    Problems are damaged and short videos (fewer than `shortest` frames), single frames, uneven frame rates, copies, and groups in
    more than one split. `progress` gets (videos done, videos in total).
    """
    findings: list[Finding] = []
    surveys: dict[Video, Survey] = {}
    for done, (video, result) in enumerate(zip(manifest.videos, _surveyed(manifest), strict=True), start=1):
        if isinstance(result, DamagedVideo):
            findings.append(Finding("damaged", video, result.reason))
        else:
            surveys[video] = result
            findings += [Finding(kind, video, reason) for kind, reason in _oddities(result, shortest)]
        if progress:
            progress(done, len(manifest.videos))
    return Report((*findings, *_crossing(manifest), *copies(manifest)), surveys)


def _oddities(found: Survey, shortest: int) -> Iterator[tuple[str, str]]:
    frames = found.info.frames
    if frames == 1:
        yield "single frame", "a single frame: nothing moves in it"
    elif frames < shortest:
        yield "short", f"{frames} frames: longer clips repeat the last one"
    if not found.info.fps:
        yield "no rate", "states no frame rate: its frames are used as they are"
    if not found.even:
        yield "variable rate", "its frames are unevenly spaced in time"


def _surveyed(manifest: Manifest) -> Iterator[Survey | DamagedVideo]:
    """Each video's survey, or the error if it is damaged, in order."""

    def job(video: Video) -> Survey | DamagedVideo:
        try:
            return survey(manifest.absolute(video), rate=manifest.fps)
        except DamagedVideo as error:
            return error

    return (result for _, result in in_order(manifest.videos, job))


def _crossing(manifest: Manifest) -> list[Finding]:
    crossing = set(manifest.crossing_groups())
    splits: dict[str, dict[str, Video]] = defaultdict(dict)  # group -> split -> its first video there
    for video in manifest.videos:
        if video.group in crossing:
            splits[video.group].setdefault(video.split, video)
    return [
        Finding(
            "group in two splits",
            [*first.values()][-1],
            f"its group '{group}' is in {' and '.join(first)}: a leak between splits",
        )
        for group, first in splits.items()
    ]


def copies(manifest: Manifest) -> list[Finding]:
    """Files with equal bytes in two splits or with two labels: those of them that are left out."""
    same: dict[str, list[Video]] = defaultdict(list)
    for video, content in zip(manifest.videos, _hashes_of_readable(manifest), strict=True):
        if content:
            same[content].append(video)
    findings = []
    for videos in same.values():
        kept = max(videos, key=lambda video: SPLITS.index(video.split))
        several = len({video.label for video in videos}) > 1
        for video in videos:
            if several or video.split != kept.split:
                other = next((v for v in (kept, *videos) if (v.split, v.label) != (video.split, video.label)), kept)
                reason = f"{_place(manifest, video)}, the same bytes as {other.path} {_place(manifest, other)}"
                findings.append(Finding("copy", video, reason))
    return findings


def _place(manifest: Manifest, video: Video) -> str:
    return f"in {video.split} as '{manifest.classes[video.label]}'"


def _hashes_of_readable(manifest: Manifest) -> list[str]:
    there = [video for video in manifest.videos if os.path.exists(manifest.absolute(video))]
    contents = zip(there, manifest.hashes(there), strict=True)
    known = {video: content for video, content in contents if stamp_of(manifest.absolute(video))[1]}
    return [known.get(video, "") for video in manifest.videos]


def without(manifest: Manifest, findings: Iterable[Finding]) -> Manifest:
    """The manifest without the videos to leave out, and with one line per kind that says how many.

    Raises:
        ExpandError: a class has no training video left, or a split no video.
    """
    taken: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        if finding.kind in LEFT_OUT:
            taken[finding.kind].append(finding)
    if not taken:
        return manifest
    gone = {finding.video for found in taken.values() for finding in found}
    videos = tuple(video for video in manifest.videos if video not in gone)
    lines = [summary(kind, found, len(manifest.videos)) for kind, found in taken.items()]
    rest = replace(manifest, videos=videos, left_out=(*manifest.left_out, *lines))
    _require_enough(manifest, rest)
    return rest


def summary(kind: str, found: Sequence[Finding], total: int) -> str:
    """One line per kind: the number, the share and the first reasons."""
    some = "; ".join(map(str, found[:3])) + ("; ..." if len(found) > 3 else "")
    return f"{len(found)} of {total} videos ({len(found) / total:.1%}): {kind} ({some})"


def _require_enough(before: Manifest, after: Manifest) -> None:
    trained = {video.label for video in after.split("train")}
    for label, name in enumerate(after.classes):
        if label not in trained:
            raise ExpandError(f"no training clip of class '{name}' is left that can be used: add some")
    for split in SPLITS:
        if before.split(split) and not after.split(split):
            raise ExpandError(f"no {split} clip is left that can be used: add some")


def counts(manifest: Manifest) -> dict[str, dict[str, int]]:
    """The number of videos by class and split."""
    of: Counter[tuple[int, str]] = Counter((video.label, video.split) for video in manifest.videos)
    return {name: {split: of[label, split] for split in SPLITS} for label, name in enumerate(manifest.classes)}


def plain(manifest: Manifest, report: Report) -> dict[str, Any]:
    """The manifest and the report as plain JSON."""
    findings = [{"kind": f.kind, "path": f.path, "reason": f.reason} for f in report.findings]
    return {
        "layout": manifest.layout, "why": manifest.why, "classes": counts(manifest), "spread": report.spread(),
        "left_out": list(manifest.left_out), "problems": findings,
    }  # fmt: skip
