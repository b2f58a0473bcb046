"""Reads single frames of a video file, equal in every pixel to decoding all of it.

`locate` decodes a file completely once, to check it and to find each frame's position. Later `pick` starts at the keyframe before
a frame. This is exact if the container stores every frame's time (MP4, MOV, Matroska, WebM, and AVI without B-frames). In other
containers the times depend on where reading starts, so frames are counted from the first one: slower, but correct.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from expand.data.video.checks import DamagedVideo, scaled
from expand.data.video.decode import (
    _check_whole,
    _nearest,
    _opened,
    _picture,
    _rate,
    _read,
    _reason,
    _ticks,
    _times,
    probe,
)
from expand.data.video.images import is_stills, read_stills

FROM_START = np.iinfo(np.int64).min
Size = tuple[int, int]


@dataclass(frozen=True)
class Places:
    """The positions of a video's frames.

    Attributes:
        rows: (T, 3) int64, one row per frame: its number in the file, its time stamp, and the time stamp of the keyframe to
            start from (`FROM_START`: count from the first frame).
        size: width and height of the scaled picture before it is rotated upright to (`height`, `width`).
        turned: whether that is a quarter turn.
        fps: the file's own frame rate.
    """

    rows: np.ndarray
    size: Size
    height: int
    width: int
    turned: bool
    fps: float


def locate(path: str | Path, *, side: int | None = None, fps: float | None = None, rate: float = 0.0) -> Places:
    """Decodes everything without storing pictures. Rules and errors are those of `decode.decode`."""
    if is_stills(path):
        return _locate_stills(path, side, fps, rate)
    stamps: list[int | None] = []
    keys: list[int | None] = []
    shapes: list[tuple[int, int, int]] = []

    def seen(frame: Any) -> None:
        stamps.append(frame.pts)
        if frame.key_frame:
            keys.append(frame.pts)
        if not shapes:
            shapes.append((frame.width, frame.height, round(frame.rotation / 90) % 2))

    with _opened(path) as (container, stream):
        rate = _rate(stream)
        decoded = _read(container, stream, side, keep=False, seen=seen)
        _check_whole(path, container, stream, decoded)
        seekable = _exact(container, stream)
    shown = np.arange(decoded.count)
    if fps is not None and not (rate and abs(rate / fps - 1) <= 0.05):
        shown = _nearest(path, _times(decoded, rate or fps), rate or fps, fps)
    width, height, turned = shapes[0]
    size = scaled(width, height, side)
    upright = size[::-1] if turned else size
    return Places(_rows(stamps, keys, seekable)[shown], size, upright[1], upright[0], bool(turned), rate)


def _locate_stills(path: str | Path, side: int | None, fps: float | None, rate: float) -> Places:
    info, shown = probe(path, rate=rate), np.arange(len(read_stills(path, side=16)[0]))
    if fps is not None and not (info.fps and abs(info.fps / fps - 1) <= 0.05):
        shown = _ticks(path, len(shown), info.fps, fps)
    size = scaled(info.width, info.height, side)
    return Places(_rows([None] * (int(shown.max()) + 1), [], False)[shown], size, size[1], size[0], False, info.fps)


def _exact(container: Any, stream: Any) -> bool:
    """Whether a frame's time stamp is independent of where reading starts: not in AVI with B-frames, which counts packets."""
    name = container.format.name
    return name.startswith(("mov", "matroska")) or (name == "avi" and not stream.codec_context.has_b_frames)


def _rows(stamps: Sequence[int | None], keys: Sequence[int | None], seekable: bool) -> np.ndarray:
    rows = np.full((len(stamps), 3), FROM_START, dtype=np.int64)
    rows[:, 0] = np.arange(len(stamps))
    times = [stamp for stamp in stamps if stamp is not None]
    if not seekable or len(times) < len(stamps) or any(later <= earlier for earlier, later in pairwise(times)):
        return rows
    starts = sorted(key for key in keys if key is not None)
    rows[:, 1] = times
    for number, time in enumerate(times):
        place = bisect_right(starts, time)
        rows[number, 2] = starts[place - 1] if place else FROM_START
    return rows


def pick(path: str | Path, rows: np.ndarray, size: Size) -> np.ndarray:
    """The frames of `rows` (from `locate`), in their order, as uint8 (len(rows), H, W, 3).

    Raises:
        DamagedVideo: a frame is no longer in the file.
    """
    if is_stills(path):
        return read_stills(path, side=min(size), only=[int(row[0]) for row in rows])[0]
    wanted = sorted({(int(row[0]), int(row[1]), int(row[2])) for row in rows})
    found: dict[int, np.ndarray] = {}
    with _opened(path) as (container, stream):
        for start, group in groupby(wanted, key=lambda row: row[2]):
            if start != FROM_START:
                found |= _after(container, stream, start, {time: number for number, time, _ in group}, size)
    left = {number for number, _, _ in wanted if number not in found}
    if left:  # no time stamps to seek to, or the container's index is wrong
        found |= _counted(path, left, size)
    if missing := left - found.keys():
        raise DamagedVideo(path, f"frame {min(missing)} was not found: has the file changed since it was checked?")
    return np.stack([found[int(row[0])] for row in rows])


def _after(container: Any, stream: Any, start: int, wanted: dict[int, int], size: Size) -> dict[int, np.ndarray]:
    """Frames by number, read from a keyframe to the last of `wanted` (time stamp -> number)."""
    found, reformatter, last = {}, VideoReformatter(), max(wanted)
    try:
        container.seek(start, stream=stream)
        for frame in _frames(container, stream):
            if frame.pts in wanted:
                found[wanted[frame.pts]] = _picture(frame, reformatter, size)
            if frame.pts is None or frame.pts >= last:
                break
    except av.FFmpegError:
        return {}
    return found


def _counted(path: str | Path, wanted: set[int], size: Size) -> dict[int, np.ndarray]:
    found, reformatter, last = {}, VideoReformatter(), max(wanted)
    with _opened(path) as (container, stream):
        try:
            for number, frame in enumerate(_frames(container, stream)):
                if number in wanted:
                    found[number] = _picture(frame, reformatter, size)
                if number == last:
                    break
        except av.FFmpegError as error:
            raise DamagedVideo(path, f"frame {min(wanted - found.keys())} cannot be read ({_reason(error)})") from error
    return found


def pictures(path: str | Path, size: Size) -> Iterator[tuple[np.ndarray, float | None]]:
    """All frames one by one, each with its time in seconds, scaled to `size` (width and height before rotating upright).

    It does not check for missing frames; `locate` does.

    Raises:
        DamagedVideo: a frame cannot be read.
    """
    if is_stills(path):
        yield from ((frame, None) for frame in read_stills(path, side=min(size))[0])
        return
    reformatter = VideoReformatter()
    with _opened(path) as (container, stream):
        try:
            for frame in _frames(container, stream):
                yield _picture(frame, reformatter, size), frame.time
        except av.FFmpegError as error:
            raise DamagedVideo(path, f"cannot be read to its end ({_reason(error)})") from error


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    for packet in container.demux(stream):
        if packet.size or packet.dts is None:
            yield from packet.decode()
