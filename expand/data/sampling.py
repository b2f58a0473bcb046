"""Which frames of a video a clip reads. Pure functions of numbers.

A clip spans (frames - 1) x stride + 1 source frames. Where a video is shorter than that, its last frame is held.
"""

from __future__ import annotations

from expand.space import Clip


def random_start(length: int, clip: Clip, draw: float) -> int:
    """The first frame of a clip laid uniformly at random into `length` frames; `draw` is uniform in [0, 1)."""
    return int(draw * (_slack(length, clip) + 1))


def uniform_start(length: int, clip: Clip, view: int, views: int) -> int:
    """The first frame of view number `view` (from 0) of `views` spread evenly over `length` frames; a single one is
    centred (the papers' "K-Center" testing, in time)."""
    return int(_slack(length, clip) * (view + 0.5) / views)


def frame_indices(length: int, clip: Clip, start: int) -> list[int]:
    """`clip.frames` indices below `length`."""
    return [min(start + step * clip.stride, length - 1) for step in range(clip.frames)]


def _slack(length: int, clip: Clip) -> int:
    return max(0, length - ((clip.frames - 1) * clip.stride + 1))
