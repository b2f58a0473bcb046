"""What the readers of all kinds of clips share: what a clip is said to hold, and how one that is not whole is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from expand.core.errors import ExpandError
from expand.core.files import escaped


class DamagedVideo(ExpandError):
    """A video that is not there, not a video, or not whole. `reason` is one clause, without the path."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(escaped(f"{path}: {reason}"))
        self.path = Path(path)
        self.reason = escaped(reason)

    def __reduce__(self) -> tuple[type, tuple[Path, str]]:
        return type(self), (self.path, self.reason)


@dataclass(frozen=True)
class VideoInfo:
    """`frames` is what the container says, or its duration × its rate; 0 where it says neither."""

    frames: int
    fps: float
    width: int
    height: int
    codec: str
    pixel_format: str


def scaled(width: int, height: int, side: int | None) -> tuple[int, int]:
    """The size with a short side of at most `side`, the aspect kept."""
    short = min(width, height)
    if side is None or short <= side:
        return width, height
    return max(1, round(width * side / short)), max(1, round(height * side / short))
