"""How much room clips take, told before anything is decoded, and what helps where there is too little."""

from __future__ import annotations

import shlex
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from expand.core.errors import ExpandError
from expand.data.manifest import Manifest, Video, cache_root
from expand.data.video.decode import MOST_REPEATS, DamagedVideo, probe, scaled

PROBED = 200  # training videos looked at for the frame rate, and videos for the size of a cache
PLACE_BYTES = 24  # of a frame that is decoded on the fly: three numbers
SPARE = 1.1  # what is asked for over what is expected


@dataclass(frozen=True)
class Budget:
    """What is kept of a video: frames at `fps` with a short side of `side` pixels, at most `frames` of them; with `fly` only
    their places."""

    side: int
    fps: float
    frames: int | None = None
    fly: bool = False


def reference_fps(manifest: Manifest) -> float:
    """The median frame rate of the training videos (of at most 200, evenly chosen), one that occurs."""
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
    manifest: Manifest,
    videos: Sequence[Video],
    side: int,
    fps: float | None = None,
    *,
    frames: int | None = None,
    fly: bool = False,
) -> float | None:
    """What these videos take in a cache, judged by some of them; None where none of these can be read."""
    budget = Budget(side, reference_fps(manifest) if fps is None else fps, frames, fly)
    sizes = [length * area for length, area in _kept(manifest, videos, budget)]
    return statistics.fmean(sizes) * len(videos) if sizes else None


def require_room(manifest: Manifest, videos: Sequence[Video], budget: Budget, there: int = 0) -> None:
    """Raises `ExpandError` where the disk has less room than the videos need beside the bytes that are `there` already,
    judged by some of them and a tenth."""
    kept = _kept(manifest, videos, budget)
    if not kept:
        return
    mean = statistics.fmean(length * area for length, area in kept)
    needed, root = SPARE * (mean * len(videos)) - there, cache_root()
    free = shutil.disk_usage(root).free
    if needed <= free:
        return
    share = (free + there) / (needed + there)
    frames = int(share * statistics.fmean(length for length, _ in kept))
    raise ExpandError(
        f"the clip cache needs about {needed / 1e9:.3g} GB at {root}, {free / 1e9:.3g} GB are free."
        f" {remedies(manifest, budget, side=4 * int(budget.side * sqrt(share) / 4), frames=frames)}"
    )


def remedies(manifest: Manifest, budget: Budget, *, side: int = 0, frames: int = 0) -> str:
    """What to type where a cache has no room; `side` and `frames` are what would fit, 0 where nobody knows."""
    ways = [
        "another disk (EXPAND_CACHE=/folder/with/room expand ...)",
        f"fewer pixels (--set data.cache_side={side if side >= 16 else 'PIXELS'})",
        f"fewer frames of a video (--set data.cache_frames={frames or 'N'})",
    ]
    if not budget.fly:
        again = f"expand data reencode {shlex.quote(str(manifest.root))} --to DIR --side {budget.side}"
        ways += [
            "no cache (--set data.decode=fly)",
            f"no cache, and files that are fast to decode ({again}; then --data DIR --set data.decode=fly)",
        ]
    return "Any of these helps: " + ", ".join(ways)


def _kept(manifest: Manifest, videos: Sequence[Video], budget: Budget) -> list[tuple[float, int]]:
    """Frames, and bytes of a frame, that are kept of some of the videos."""
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
