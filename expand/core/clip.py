"""The clip that one stream of a network reads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Clip:
    """The clip that one stream of a network reads: a tensor (B, channels, frames, height, width), every `stride`-th
    frame of the source."""

    frames: int
    stride: int
    height: int
    width: int
    channels: int = 3

    @property
    def duration(self) -> int:
        """Source frames covered, the stride after the last frame included (the paper's "4x12 = 48")."""
        return self.frames * self.stride
