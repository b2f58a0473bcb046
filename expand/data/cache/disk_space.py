"""The disk space that clips need, estimated before decoding, and remedies if there is too little."""

from __future__ import annotations

import shlex
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from expand.core.errors import ExpandError
from expand.data.manifest import Manifest, Video, cache_root
from expand.data.video.checks import DamagedVideo, scaled
from expand.data.video.decode import MOST_REPEATS, probe

PROBED = 200  # videos that are probed for the frame rate and for the size of a cache
PLACE_BYTES = 24  # per frame with decoding on the fly: three numbers
SPARE = 1.1  # required over expected space


@dataclass(frozen=True)
class Budget:
    """What is stored per video: at most `frames` frames at `fps`, short side `side` pixels; with `fly` only their positions."""

    side: int
    fps: float
    frames: int | None = None
    fly: bool = False


def reference_fps(manifest: Manifest) -> float:
    """The median frame rate of the training videos (of at most 200, evenly chosen); always the rate of one of them."""
    rates, problem = [], None
    for video in _some(manifest.split("train")):
        try:
            rates.append(video.fps or probe(manifest.absolute(video), rate=manifest.fps).fps)
        except DamagedVideo as error:
            problem = problem or error
    rates = [rate for rate in rates if rate > 0]
    if not rates:
        raise ExpandError(
            f"no training video of {manifest.root} can be read; the first: {problem or 'has no frame rate'}"
        )
    return round(statistics.median_low(rates), 3)


def expected_bytes(
    manifest: Manifest, videos: Sequence[Video], side: int, *, frames: int | None = None, fly: bool = False
) -> float | None:
    """The bytes that these videos need in a cache, estimated from some of them; None if none of these can be read."""
    kept = _kept(manifest, videos, Budget(side, reference_fps(manifest), frames, fly))
    sizes = [length * area for length, area in kept]
    return statistics.fmean(sizes) * len(videos) if sizes else None


def require_disk_space(manifest: Manifest, videos: Sequence[Video], budget: Budget, written: int = 0) -> None:
    """Checks that the disk has space for the videos, estimated from some of them plus 10 %; `written` bytes are done.

    Raises:
        ExpandError: there is too little free space.
    """
    kept = _kept(manifest, videos, budget)
    if not kept:
        return
    mean = statistics.fmean(length * area for length, area in kept)
    needed, root = SPARE * (mean * len(videos)) - written, cache_root()
    free = shutil.disk_usage(root).free
    if needed <= free:
        return
    share = (free + written) / (needed + written)
    frames = int(share * statistics.fmean(length for length, _ in kept))
    raise ExpandError(
        f"the clip cache needs about {needed / 1e9:.3g} GB at {root}, {free / 1e9:.3g} GB are free."
        f" {remedies(manifest, budget, side=4 * int(budget.side * sqrt(share) / 4), frames=frames)}"
    )


def remedies(manifest: Manifest, budget: Budget, *, side: int = 0, frames: int = 0) -> str:
    """Options that reduce the cache's size; `side` and `frames` are values that would fit, 0 if unknown."""
    ways = [
        "another disk (EXPAND_CACHE=/other/folder expand ...)",
        f"fewer pixels (--set data.cache_side={side if side >= 16 else 'PIXELS'})",
        f"fewer frames per video (--set data.cache_frames={frames or 'N'})",
    ]
    if not budget.fly:
        again = f"expand data reencode {shlex.quote(str(manifest.root))} --to DIR --side {budget.side}"
        ways += [
            "no cache (--set data.decode=fly)",
            f"no cache, and files that are fast to decode ({again}; then --data DIR --set data.decode=fly)",
        ]
    return "Any of these helps: " + ", ".join(ways)


def _kept(manifest: Manifest, videos: Sequence[Video], budget: Budget) -> list[tuple[float, int]]:
    """The number of stored frames, and bytes per frame, for some of the videos."""
    kept = []
    for video in _some(videos):
        try:
            info = probe(manifest.absolute(video), rate=manifest.fps)
        except DamagedVideo:
            continue
        width, height = scaled(info.width, info.height, budget.side)
        length = info.frames * (min(budget.fps / info.fps, MOST_REPEATS) if info.fps else 1)
        kept.append((min(length, budget.frames or length), PLACE_BYTES if budget.fly else width * height * 3))
    return kept


def _some(videos: Sequence[Video]) -> Sequence[Video]:
    return videos[:: -(-len(videos) // PROBED)] if videos else videos
