"""What a cache folder stores per video: its frames, or the positions of its frames in the file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from expand.core.errors import ExpandError
from expand.data.cache.shards import Entry
from expand.data.manifest import Manifest, Video, cache_root, stamp_of
from expand.data.video.checks import DamagedVideo
from expand.data.video.decode import decode, probe
from expand.data.video.seek import locate, pick

CACHE_VERSION = 2


@dataclass(frozen=True)
class Plan:
    """The content of one cache folder."""

    manifest: Manifest
    split: str
    side: int
    fps: float
    frames: int | None
    fly: bool

    @cached_property
    def content(self) -> str:
        """A hash of the clips' content, independent of their location and of when they are decoded."""
        return self._name(None)

    @cached_property
    def folder(self) -> Path:
        place = str(self.manifest.root) if self.fly else None  # frames are read from there later
        return cache_root() / "clips" / self._name(place)

    def _name(self, place: str | None) -> str:
        videos = self.manifest.split(self.split)
        if not videos:
            raise ExpandError(f"the {self.split} split of {self.manifest.root} has no video")
        labelled = [(v.path, v.label, h) for v, h in zip(videos, self.manifest.hashes(videos), strict=True)]
        kept = (CACHE_VERSION, self.side, self.fps, self.manifest.fps, self.frames, place)
        facts = (*kept, self.split, self.manifest.classes, labelled)
        return f"{self.split}-{hashlib.sha256(repr(facts).encode()).hexdigest()[:24]}"

    @property
    def unfinished(self) -> Path:
        return self.folder.with_suffix(".building")


def entry(plan: Plan, video: Video) -> Entry:
    """The stored data of a video, or the reason why there is none."""
    path = plan.manifest.absolute(video)
    facts: dict[str, Any] = {"path": video.path, "label": video.label}
    try:
        more, data = _places(plan, path) if plan.fly else _pictures(plan, path)
    except DamagedVideo as error:
        return Entry({"path": video.path, "reason": error.reason}, None)
    return Entry(facts | more, data)


def _places(plan: Plan, path: Path) -> tuple[dict[str, Any], np.ndarray]:
    before = stamp(path)
    found = locate(path, side=plan.side, fps=plan.fps, rate=plan.manifest.fps)
    rows = found.rows[_middle(_moving(path, len(found.rows)), plan.frames)]
    shape = (len(rows), found.height, found.width, 3)
    cut = len(found.rows) - len(rows)
    return {"shape": shape, "fps": found.fps, "cut": cut, "size": found.size, "stamp": before}, rows


def _pictures(plan: Plan, path: Path) -> tuple[dict[str, Any], np.ndarray]:
    rate = plan.manifest.fps
    info = probe(path, rate=rate)
    if plan.frames and info.fps and info.frames * plan.fps / info.fps > 2 * plan.frames:
        found = locate(path, side=plan.side, fps=plan.fps, rate=rate)  # a long video is never completely in memory
        whole, data = len(found.rows), pick(path, found.rows[_middle(len(found.rows), plan.frames)], found.size)
    else:
        clip = decode(path, side=plan.side, fps=plan.fps, rate=rate)
        whole, data = len(clip), clip[_middle(_moving(path, len(clip)), plan.frames)]
    return {"shape": data.shape, "fps": info.fps, "cut": whole - len(data)}, data


def _moving(path: Path, length: int) -> int:
    if length == 1:
        raise DamagedVideo(path, "a single frame: nothing moves in it")
    return length


def _middle(length: int, most: int | None) -> slice:
    cut = max(0, length - (most or length))
    return slice(cut // 2, cut // 2 + length - cut)


def stamp(path: Path) -> list[int] | None:
    try:
        return list(stamp_of(path)[1:])
    except ExpandError:
        return None
