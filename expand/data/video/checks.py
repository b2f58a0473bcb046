"""Shared by all readers of clips: what a clip's header states, and the error for a damaged clip."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from expand.core.errors import ExpandError
from expand.core.files import escaped


class DamagedVideo(ExpandError):
    """A video is missing, not a video, or incomplete. `reason` is one clause without the path."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(escaped(f"{path}: {reason}"))
        self.path = Path(path)
        self.reason = escaped(reason)

    def __reduce__(self) -> tuple[type, tuple[Path, str]]:
        return type(self), (self.path, self.reason)


@dataclass(frozen=True)
class VideoInfo:
    """A clip's header. `frames` is the container's number, or its duration × its rate, or 0 if both are unknown."""

    frames: int
    fps: float
    width: int
    height: int
    codec: str
    pixel_format: str


def scaled(width: int, height: int, side: int | None) -> tuple[int, int]:
    """The size with a short side of at most `side`, keeping the aspect ratio."""
    short = min(width, height)
    if side is None or short <= side:
        return width, height
    return max(1, round(width * side / short)), max(1, round(height * side / short))
