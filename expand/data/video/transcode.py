"""`expand data reencode`: smaller files with a keyframe every few frames, for decoding on the fly.

The folder keeps the source's layout; `train.csv`, `val.csv` and `test.csv` in it list splits and labels. Each file's comment
states its source and settings, so that a second run encodes only what is missing. Sound is left out.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from expand.core.atomic import appearing, unfinished
from expand.core.errors import ExpandError, UsageError
from expand.data.manifest import SPLITS, Manifest, Video, stamp_of
from expand.data.parallel import in_order
from expand.data.video.checks import DamagedVideo, scaled
from expand.data.video.seek import Places, locate, pictures

QUALITY = {"libx264": {"crf": "18", "preset": "veryfast", "bf": "0"}, "mpeg4": {"qscale": "3", "bf": "0"}}
TICK = Fraction(1, 90_000)  # ticks per second that represent the usual frame rates exactly
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Reencoded:
    """The result: files encoded now, files that existed, bytes before and after, and damaged videos."""

    made: int
    there: int
    source_bytes: int
    bytes: int
    damaged: tuple[DamagedVideo, ...]


def reencode(
    manifest: Manifest, folder: Path, *, side: int = 128, keyframes: int = 12, progress: Progress | None = None
) -> Reencoded:
    """Encodes every readable video with a short side of at most `side` pixels and a keyframe every `keyframes` frames.

    Afterwards the lists are written. The number and times of frames stay the same. `progress` gets (videos done, videos in
    total).

    Raises:
        UsageError: the folder is the source's, or a file in it was not written by this command.
        ExpandError: nothing can be read, or the folder cannot be written.
    """
    if side < 16 or keyframes < 1:
        raise UsageError(f"--side {side} --keyframes {keyframes}: at least 16 pixels, and at least 1 frame")
    folder = Path(os.path.abspath(folder.expanduser()))
    if folder.is_relative_to(manifest.root) or manifest.root.is_relative_to(folder):
        raise UsageError(f"--to {folder}: give a folder outside the source {manifest.root}")
    names, hashes = _names(manifest), _hashes(manifest)
    how = f"side={side} keyframes={keyframes}"

    def work(video: Video) -> bool | DamagedVideo:
        source, target = manifest.absolute(video), folder / names[video.path]
        try:
            comment = f"expand reencode {hashes.get(video.path)} {how}"
            return _reencode(source, target, side, keyframes, comment, manifest.fps)
        except DamagedVideo as error:
            return error

    with _writing(folder):
        videos = list({video.path: video for video in manifest.videos}.values())
        outcome: dict[str, bool | DamagedVideo] = {}
        for done, (video, result) in enumerate(in_order(videos, work), start=1):
            outcome[video.path] = result
            if progress:
                progress(done, len(videos))
        damaged = tuple(result for result in outcome.values() if isinstance(result, DamagedVideo))
        good = [video for video in manifest.videos if not isinstance(outcome[video.path], DamagedVideo)]
        if not good:
            raise ExpandError(f"none of {len(videos)} videos can be read; the first: {damaged[0]}")
        _write_lists(manifest, good, names, folder)
    kept = list({video.path: video for video in good}.values())
    made = sum(outcome[video.path] is True for video in kept)
    before = sum(stamp_of(manifest.absolute(video))[1] for video in kept)
    after = sum((folder / names[video.path]).stat().st_size for video in kept)
    return Reencoded(made, len(kept) - made, before, after, damaged)


def _names(manifest: Manifest) -> dict[str, str]:
    """Source path -> path in the folder: the same with suffix .mp4; files outside the root go to `outside`."""
    names: dict[str, str] = {}
    taken = set()
    for path in dict.fromkeys(video.path for video in manifest.videos):
        inside = Path("outside", *Path(path).parts[1:]) if Path(path).is_absolute() else Path(path)
        inside = Path(*("up" if part == ".." else part for part in inside.parts))
        plain = inside.with_suffix(".mp4").as_posix()
        names[path] = plain if plain not in taken else f"{inside.as_posix()}.mp4"
        taken.add(names[path])
    return names


def _hashes(manifest: Manifest) -> dict[str, str]:
    there = [video for video in manifest.videos if os.access(manifest.absolute(video), os.R_OK)]
    return {video.path: content for video, content in zip(there, manifest.hashes(there), strict=True)}


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        again = "finished files are kept, and the same command resumes"
        raise ExpandError(f"cannot write {folder} ({error.strerror or error}): {again}") from error


def _reencode(source: Path, target: Path, side: int, keyframes: int, comment: str, fps: float) -> bool:
    """Returns True if the file was encoded, False if it existed. It gets its name only after its frames are counted."""
    if target.exists():
        if (found := _comment(target)) == comment:
            return False
        if not found.startswith("expand reencode "):
            raise UsageError(f"{target} exists and was not written by this command: give another folder with --to")
    target.parent.mkdir(parents=True, exist_ok=True)
    expected = locate(source, rate=fps)  # also finds a damaged source before anything is written
    for left in unfinished(target):
        left.unlink()
    with appearing(target) as partial:
        _encode(source, partial, expected, side, keyframes, comment)
        count = len(locate(partial).rows)
        if count != len(expected.rows):
            raise DamagedVideo(source, f"only {count} of {len(expected.rows)} frames were encoded")
    return True


def _comment(path: Path) -> str:
    try:
        with av.open(str(path)) as container:
            return str(container.metadata.get("comment", ""))
    except (av.FFmpegError, UnicodeError):
        return ""


def _encode(source: Path, target: Path, expected: Places, side: int, keyframes: int, comment: str) -> None:
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    rate = Fraction(expected.fps or 25).limit_denominator(1001)
    height, width = (max(2, length - length % 2) for length in _upright(expected, side))  # 4:2:0 needs even sizes
    size = (height, width) if expected.turned else (width, height)
    with av.open(str(target), "w", format="mp4") as container:
        container.metadata["comment"] = comment
        stream = container.add_stream(codec, rate=rate, options=QUALITY[codec] | {"g": str(keyframes)})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count, stream.codec_context.time_base = 1, TICK
        for picture, ticks in _timed(source, size, rate):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = ticks, TICK
            frame.duration = round(1 / rate / TICK)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _upright(expected: Places, side: int) -> tuple[int, int]:
    width, height = scaled(expected.width, expected.height, side)
    return height, width


def _timed(source: Path, size: tuple[int, int], rate: Fraction) -> Iterator[tuple[np.ndarray, int]]:
    """Each upright picture with its time in ticks; times are strictly increasing."""
    first: float | None = None
    ticks = -1
    for number, (picture, time) in enumerate(pictures(source, size)):
        seconds = number / float(rate) if time is None else time
        first = seconds if first is None else first
        ticks = max(ticks + 1, round((seconds - first) / float(TICK)))
        yield picture, ticks


def _write_lists(manifest: Manifest, good: Sequence[Video], names: dict[str, str], folder: Path) -> None:
    """Writes lists of `path,label,group`, with class names as labels.

    Each list is written completely or not at all, the training list last: without it the folder is not a data set.
    """
    for split in reversed(SPLITS):
        rows = [(names[v.path], manifest.classes[v.label], v.group) for v in good if v.split == split]
        path = folder / f"{split}.csv"
        if not rows:
            path.unlink(missing_ok=True)
            continue
        with appearing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("path", "label", "group"), *rows])
