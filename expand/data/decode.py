"""Video files to arrays with PyAV, never in silence: what cannot be read whole is a `DamagedVideo`.

A plain decoding loop returns 2 of 6 frames of a damaged file without an error, so what was decoded is held against
what the container says. Bit noise inside the picture data is not detected: the manifest's content hash is for that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

from expand.errors import ExpandError


class DamagedVideo(ExpandError):
    """A video that is not there, not a video, or not whole. `reason` is one clause, without the path."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = Path(path)
        self.reason = reason

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


@dataclass
class _Decoded:
    """What came out of the file so far: frames (H, W, 3) if kept, their times in s, packets that yield no frame."""

    frames: list[np.ndarray] = field(default_factory=list)
    times: list[float | None] = field(default_factory=list)
    silent_packets: int = 0
    failure: str = ""

    @property
    def count(self) -> int:
        return len(self.times)


def probe(path: str | Path) -> VideoInfo:
    """Reads the header only. Raises `DamagedVideo` for a file without a readable video stream."""
    with _opened(path) as (container, stream):
        context = stream.codec_context
        fps = _rate(stream)
        frames = stream.frames or round(_duration(container, stream) * fps)
        return VideoInfo(frames, fps, context.width, context.height, context.name, context.pix_fmt or "")


def decode(path: str | Path, *, side: int | None = None, fps: float | None = None) -> np.ndarray:
    """The whole clip as uint8 (T, H, W, 3), RGB, turned upright as its display matrix says (quarter turns).

    The short side is brought down to `side` pixels, never up; pixels count as square. With `fps`, a clip whose rate is
    off by more than 5 % gives the frames nearest in time at that rate. One thread, for equal arrays from equal files.
    Raises `DamagedVideo` when frames are missing: see `_check_whole` for the tolerance.
    """
    with _opened(path) as (container, stream):
        rate = _rate(stream)
        decoded = _read(container, stream, side)
        _check_whole(path, container, stream, decoded)
    clip = np.stack(decoded.frames)
    if fps is None or (rate and abs(rate / fps - 1) <= 0.05):
        return clip
    return clip[_nearest(_times(decoded, rate or fps), rate or fps, fps)]


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[Any, Any]]:
    path = Path(path)
    if not path.is_file():
        raise DamagedVideo(path, "there is no such file")
    if not path.stat().st_size:
        raise DamagedVideo(path, "the file is empty")
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError, UnicodeError) as error:
        raise DamagedVideo(path, f"not a readable video: cut short, or something else ({_reason(error)})") from error
    with container:
        yield container, _video_stream(path, container)


def _video_stream(path: Path, container: Any) -> Any:
    films = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not films:
        raise DamagedVideo(path, "no video in it, only sound" if container.streams.audio else "no video in it")
    stream = films[0]
    if stream.codec_context is None or not stream.codec_context.width:
        raise DamagedVideo(path, "its video stream cannot be decoded (unknown codec, or its header is cut)")
    stream.codec_context.thread_count = 1
    return stream


def _read(
    container: Any, stream: Any, side: int | None, *, keep: bool = True, seen: Callable[[Any], None] | None = None
) -> _Decoded:
    """Everything there is; `seen` looks at each frame before it is a picture."""
    decoded, reformatter = _Decoded(), VideoReformatter()
    size: tuple[int, int] | None = None  # of the first frame, should the picture change its size on the way
    try:
        for packet in container.demux(stream):
            if packet.is_corrupt:
                decoded.failure = "a packet is cut short"
            if packet.dts is not None and (packet.is_discard or not packet.size):
                decoded.silent_packets += 1  # outside the edit list, or AVI's "as before": no frame comes of it
            if packet.size or packet.dts is None:
                for frame in packet.decode():
                    size = size or scaled(frame.width, frame.height, side)
                    if seen:
                        seen(frame)
                    if keep:
                        decoded.frames.append(_picture(frame, reformatter, size))
                    decoded.times.append(frame.time)
    except av.FFmpegError as error:
        decoded.failure = _reason(error)
    return decoded


def _picture(frame: Any, reformatter: VideoReformatter, size: tuple[int, int]) -> np.ndarray:
    picture = reformatter.reformat(frame, width=size[0], height=size[1], format="rgb24", threads=1).to_ndarray()
    turns = round(frame.rotation / 90) % 4
    return np.rot90(picture, turns) if turns else picture


def scaled(width: int, height: int, side: int | None) -> tuple[int, int]:
    """The size with a short side of at most `side`, the aspect kept."""
    short = min(width, height)
    if side is None or short <= side:
        return width, height
    return max(1, round(width * side / short)), max(1, round(height * side / short))


def _check_whole(path: str | Path, container: Any, stream: Any, decoded: _Decoded) -> None:
    """Where the container counts its frames, one or 2 % may be missing (containers known to be off by one); where it
    only knows its duration, two frames' time or 2 % (a last frame shown for long looks like a cut). An MPEG program
    stream knows neither: cut between two packets it passes for whole."""
    count, rate, duration = decoded.count, _rate(stream), _duration(container, stream)
    said = stream.frames - decoded.silent_packets
    if stream.frames and container.format.name.startswith("mov"):  # an edit list leaves out samples that are counted
        said = min(stream.frames, len(stream.index_entries)) - decoded.silent_packets
    missing = stream.frames and said - count > max(1, 0.02 * said)
    if not stream.frames and duration and rate:
        said = round(duration * rate)
        end = _times(decoded, rate)[-1] + 1 / rate if count else 0
        missing = duration - end > max(2 / rate, 0.02 * duration)
    failure = decoded.failure
    if _gif_cut(path, container):
        failure, said = failure or "its end is missing", 0  # a GIF's frames are counted in what is there
    if failure or missing or not count:
        of = f" of {said}" if said > 0 else ""
        raise DamagedVideo(path, f"decoded {count}{of} frames" + (f" ({failure})" if failure else ""))


def _gif_cut(path: str | Path, container: Any) -> bool:
    """A GIF says neither its number of frames nor its duration, but it ends in a semicolon."""
    if container.format.name != "gif":
        return False
    with open(path, "rb") as file:
        file.seek(max(0, Path(path).stat().st_size - 64))
        return not file.read().rstrip(b"\0\r\n").endswith(b";")


def _times(decoded: _Decoded, rate: float) -> np.ndarray:
    """Seconds of each frame, in order; counted at `rate` where the file gives none."""
    if any(time is None for time in decoded.times):
        return np.arange(len(decoded.times)) / rate
    return np.maximum.accumulate(np.asarray(decoded.times, dtype=np.float64))


def _nearest(times: np.ndarray, rate: float, fps: float) -> np.ndarray:
    """Which frames to show at `fps`: for every tick from the first frame on, the one nearest in time."""
    since = times - times[0]
    ticks = np.arange(max(1, round((since[-1] + 1 / rate) * fps))) / fps
    return np.searchsorted((since[1:] + since[:-1]) / 2, ticks)


def _rate(stream: Any) -> float:
    return float(stream.average_rate or stream.guessed_rate or 0)


def _duration(container: Any, stream: Any) -> float:
    """Seconds, 0 where unknown. Matroska keeps it in a tag; the container's is the stream's if there is no other."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if tag := re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", "")):
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
    alone = len(container.streams) == 1 and container.duration
    return container.duration / 1e6 if alone else 0.0


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
