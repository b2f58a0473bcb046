"""Decodes clips to arrays, videos with PyAV. A clip that cannot be read completely raises `DamagedVideo`.

A plain decoding loop returns 2 of 6 frames of a damaged file without an error, so the result is compared with the container's
metadata. Bit errors inside the picture data are not detected; the manifest's content hash is for that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter

from expand.core.files import not_a_file
from expand.data.video.checks import DamagedVideo, VideoInfo, scaled
from expand.data.video.images import is_stills, probe_stills, read_stills

# A wrong time stamp would repeat one picture for hours, in as many copies. Slides and surveillance videos are still for minutes.
MOST_STILL_SECONDS = 600.0
MOST_REPEATS, SPARE_REPEATS = 30, 1800  # one picture per second, shown at 30 per second; and one minute in total
READ_SECONDS = 60.0  # for a header or a packet: in a file filled up with zeros FFmpeg searches to its end


@dataclass
class _Decoded:
    """What was decoded so far: frames (H, W, 3) if stored, times in s, the first frame's size, packets without a frame."""

    frames: list[np.ndarray] = field(default_factory=list)
    width: int = 0
    height: int = 0
    times: list[float | None] = field(default_factory=list)
    silent_packets: int = 0
    failure: str = ""

    @property
    def count(self) -> int:
        return len(self.times)


def probe(path: str | Path, *, rate: float = 0.0) -> VideoInfo:
    """Reads the header only. `rate` is the frame rate of frame folders and arrays that do not state one.

    Raises:
        DamagedVideo: the file has no readable video stream.
    """
    if is_stills(path):
        return probe_stills(path, rate)
    with _opened(path) as (container, stream):
        context = stream.codec_context
        fps = _rate(stream)
        said = round(_duration(container, stream) * fps)
        frames = stream.frames or min(said, Path(path).stat().st_size)  # a frame takes at least a byte
        return VideoInfo(frames, fps, context.width, context.height, context.name, context.pix_fmt or "")


def decode(path: str | Path, *, side: int | None = None, fps: float | None = None, rate: float = 0.0) -> np.ndarray:
    """Decodes the whole clip as uint8 (T, H, W, 3), RGB, rotated upright by its display matrix (quarter turns).

    One thread decodes, so that equal files give equal arrays. Pixels count as square.

    Args:
        path: a video, or a frame folder or array (`images.py`).
        side: the short side is scaled down to this many pixels, never up.
        fps: a clip whose rate differs by more than 5 % is resampled to this rate, by the frames nearest in time.
        rate: the frame rate of frame folders and arrays that do not state one.

    Raises:
        DamagedVideo: frames are missing; see `_check_whole` for the tolerance.
    """
    if is_stills(path):
        return _at_rate(path, *read_stills(path, side=side, rate=rate), fps)
    with _opened(path) as (container, stream):
        rate = _rate(stream)
        decoded = _read(container, stream, side)
        _check_whole(path, container, stream, decoded)
    clip = np.stack(decoded.frames)
    if fps is None or (rate and abs(rate / fps - 1) <= 0.05):
        return clip
    return clip[_nearest(path, _times(decoded, rate or fps), rate or fps, fps)]


def _at_rate(path: str | Path, clip: np.ndarray, rate: float, fps: float | None) -> np.ndarray:
    """Resamples a clip of pictures from `rate` to `fps`."""
    if fps is None or (rate and abs(rate / fps - 1) <= 0.05):
        return clip
    return clip[_ticks(path, len(clip), rate, fps)]


def _ticks(path: str | Path, length: int, rate: float, fps: float) -> np.ndarray:
    if not rate:
        raise DamagedVideo(path, "does not state its frame rate: give one (--fps, data.fps)")
    return _nearest(path, np.arange(length) / rate, rate, fps)


@dataclass(frozen=True)
class Survey:
    """The result of decoding a clip completely, and whether its frames are evenly spaced in time."""

    info: VideoInfo
    even: bool

    @property
    def seconds(self) -> float:
        return self.info.frames / self.info.fps if self.info.fps else 0.0


def survey(path: str | Path, *, rate: float = 0.0) -> Survey:
    """Decodes everything without storing pictures. `rate` and errors as in `decode`."""
    info = probe(path, rate=rate)
    if is_stills(path):
        clip, _ = read_stills(path, side=16)
        return Survey(replace(info, frames=len(clip)), True)
    with _opened(path) as (container, stream):
        decoded = _read(container, stream, None, keep=False)
        _check_whole(path, container, stream, decoded)
        times = _times(decoded, info.fps or 1)
    return Survey(replace(info, frames=decoded.count, width=decoded.width, height=decoded.height), _is_even(times))


def _is_even(times: np.ndarray) -> bool:
    """Whether at most one gap in fifty differs by a quarter, so that a long last frame or rounded times do not matter."""
    gaps = np.diff(times)
    if len(gaps) < 2:
        return True
    usual = float(np.median(gaps))
    return int((abs(gaps - usual) > max(0.25 * usual, 2e-3)).sum()) <= max(1, 0.02 * len(gaps))


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[Any, Any]]:
    path = Path(path)
    if reason := not_a_file(path):
        raise DamagedVideo(path, reason)
    if not path.stat().st_size:
        raise DamagedVideo(path, "the file is empty")
    try:
        container = av.open(str(path), timeout=READ_SECONDS)
    except (av.FFmpegError, OSError, UnicodeError) as error:
        raise DamagedVideo(
            path, f"not a readable video: truncated, or another kind of file ({_reason(error)})"
        ) from error
    with container:
        yield container, _video_stream(path, container)


def _video_stream(path: Path, container: Any) -> Any:
    films = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not films:
        raise DamagedVideo(path, "no video in it, only sound" if container.streams.audio else "no video in it")
    stream = films[0]
    if stream.codec_context is None or not stream.codec_context.width:
        raise DamagedVideo(path, "its video stream cannot be decoded (unknown codec, or a truncated header)")
    stream.codec_context.thread_count = 1
    return stream


def _read(
    container: Any, stream: Any, side: int | None, *, keep: bool = True, seen: Callable[[Any], None] | None = None
) -> _Decoded:
    """Decodes all frames; `seen` is called with each frame before it is converted to a picture."""
    decoded, reformatter = _Decoded(), VideoReformatter()
    size: tuple[int, int] | None = None  # the first frame's, because the size may change within the video
    try:
        for packet in container.demux(stream):
            if packet.is_corrupt:
                decoded.failure = "a packet is truncated"
            if packet.dts is not None and (packet.is_discard or not packet.size):
                decoded.silent_packets += 1  # outside the edit list, or AVI's "as before": it gives no frame
            if packet.size or packet.dts is None:
                for frame in packet.decode():
                    if size is None:
                        size = scaled(frame.width, frame.height, side)
                        decoded.width, decoded.height = _upright(frame)
                    if seen:
                        seen(frame)
                    if keep:
                        decoded.frames.append(_picture(frame, reformatter, size))
                    decoded.times.append(frame.time)
    except av.FFmpegError as error:
        decoded.failure = _reason(error)
    return decoded


def _upright(frame: Any) -> tuple[int, int]:
    return (frame.height, frame.width) if round(frame.rotation / 90) % 2 else (frame.width, frame.height)


def _picture(frame: Any, reformatter: VideoReformatter, size: tuple[int, int]) -> np.ndarray:
    picture = reformatter.reformat(frame, width=size[0], height=size[1], format="rgb24", threads=1).to_ndarray()
    turns = round(frame.rotation / 90) % 4
    return np.rot90(picture, turns) if turns else picture


def _check_whole(path: str | Path, container: Any, stream: Any, decoded: _Decoded) -> None:
    """Compares the decoded frames with the container's metadata.

    If the container counts its frames, one frame or 2 % may be missing, because some containers are off by one. If it only has a
    duration, two frames or 2 % may be missing, because a long last frame looks like truncation. An MPEG program stream has
    neither; truncation between two packets is not detected.
    """
    count, rate, duration = decoded.count, _rate(stream), _duration(container, stream)
    said = stream.frames - decoded.silent_packets
    if stream.frames and container.format.name.startswith("mov"):  # an edit list may leave out counted samples
        said = min(stream.frames, len(stream.index_entries)) - decoded.silent_packets
    missing = stream.frames and said - count > max(1, 0.02 * said)
    if not stream.frames and duration and rate:
        said = round(duration * rate)
        end = _times(decoded, rate)[-1] + 1 / rate if count else 0
        missing = duration - end > max(2 / rate, 0.02 * duration)
    failure = decoded.failure
    if _gif_cut(path, container):
        failure, said = failure or "its end is missing", 0  # a GIF's frames are counted from the file itself
    gaps = np.diff(_times(decoded, 1.0))
    if len(gaps) and gaps.max() > MOST_STILL_SECONDS and not failure:
        place = int(gaps.argmax())
        failure = f"a time stamp is wrong: frame {place + 2} comes {gaps[place]:,.0f} s after the one before"
    if failure or missing or not count:
        of = f" of {said}" if said > 0 else ""
        raise DamagedVideo(path, f"decoded {count}{of} frames" + (f" ({failure})" if failure else ""))


def _gif_cut(path: str | Path, container: Any) -> bool:
    """Whether a GIF is truncated: it states no number of frames or duration, but must end with a semicolon."""
    if container.format.name != "gif":
        return False
    with open(path, "rb") as file:
        file.seek(max(0, Path(path).stat().st_size - 64))
        return not file.read().rstrip(b"\0\r\n").endswith(b";")


def _times(decoded: _Decoded, rate: float) -> np.ndarray:
    """The time of each frame in seconds, in order; counted at `rate` if the file has no time stamps."""
    if any(time is None for time in decoded.times):
        return np.arange(len(decoded.times)) / rate
    return np.maximum.accumulate(np.asarray(decoded.times, dtype=np.float64))


def _nearest(path: str | Path, times: np.ndarray, rate: float, fps: float) -> np.ndarray:
    """The frames to use at `fps`: for every tick from the first frame on, the nearest in time.

    Raises:
        DamagedVideo: frames would be repeated more than `MOST_REPEATS` times on average, which could fill the memory.
    """
    since = times - times[0]
    count = max(1, round((since[-1] + 1 / rate) * fps))
    if count > MOST_REPEATS * len(times) + SPARE_REPEATS:
        raise DamagedVideo(path, f"{len(times)} frames are spread over {since[-1]:,.0f} s: a time stamp is wrong")
    ticks = np.arange(count) / fps
    return np.searchsorted((since[1:] + since[:-1]) / 2, ticks)


def _rate(stream: Any) -> float:
    return float(stream.average_rate or stream.guessed_rate or 0)


def _duration(container: Any, stream: Any) -> float:
    """Seconds, 0 if unknown. Matroska stores it in a tag; the container's is used if there is no other stream."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if tag := re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", "")):
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
    alone = len(container.streams) == 1 and container.duration
    return container.duration / 1e6 if alone else 0.0


def _reason(error: Exception) -> str:
    if isinstance(error, av.ExitError):
        return f"nothing could be read within {READ_SECONDS:g} s: is it filled up with zeros?"
    return str(getattr(error, "strerror", None) or error)
