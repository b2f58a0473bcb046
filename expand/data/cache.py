"""Decode once: every clip of a split as plain uint8 frames in one file that all workers of a node map into memory.

A cache folder is named after what is in it (contents, labels, side, frame rate), so it is never stale: other data are
another folder. `frames.u8` holds the frames one after the other, `index.json` says where each clip lies. It appears
whole or not at all.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import statistics
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from expand.data.decode import DamagedVideo, decode, probe, scaled
from expand.data.manifest import Manifest, Video, cache_root
from expand.errors import ExpandError

CACHE_VERSION = 1
PROBED = 200  # training videos looked at for the frame rate, and videos for the size of a cache
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Problem:
    path: str
    reason: str


class ClipCache:
    """One split's clips, read-only. It travels to other processes as its folder's name."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            index = json.loads((self.folder / "index.json").read_text())
            self._frames = np.empty(0, np.uint8)
            if index["clips"]:  # an empty file cannot be mapped
                self._frames = np.asarray(np.memmap(self.folder / "frames.u8", dtype=np.uint8, mode="r"))
        except (OSError, ValueError) as error:
            raise ExpandError(f"no clip cache at {self.folder} ({error}): delete that folder and run again") from error
        if self._frames.size != index["bytes"]:
            size = f"{self._frames.size} bytes instead of {index['bytes']}"
            raise ExpandError(f"the clip cache {self.folder} is damaged ({size}): delete that folder and run again")
        self._clips: list[dict[str, Any]] = index["clips"]
        self.classes: tuple[str, ...] = tuple(index["classes"])
        self.fps: float = index["fps"]
        self.labels = np.array([clip["label"] for clip in self._clips], dtype=np.int64)
        self.names: tuple[str, ...] = tuple(clip["path"] for clip in self._clips)
        self.skipped: tuple[Problem, ...] = tuple(Problem(**entry) for entry in index["skipped"])

    def __len__(self) -> int:
        return len(self._clips)

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        return type(self), (self.folder,)

    def frames(self, index: int) -> np.ndarray:
        """Clip `index` as uint8 (T, H, W, 3), a view into the map."""
        clip = self._clips[index]
        start, shape = clip["offset"], tuple(clip["shape"])
        return self._frames[start : start + int(np.prod(shape))].reshape(shape)


def prepare(
    manifest: Manifest,
    *,
    side: int,
    splits: tuple[str, ...] = ("train", "val"),
    skip_damaged: bool = False,
    progress: Progress | None = None,
) -> tuple[Path, ...]:
    """One cache folder a split; what is missing is decoded now, by one process at a time.

    All clips are brought to the training split's median frame rate. `progress` gets (videos done, videos to decode).
    Raises `ExpandError` for damaged videos unless they may be skipped, for a training class of which nothing is left,
    and for a disk with too little room.
    """
    fps = reference_fps(manifest)
    folders = {split: _folder(manifest, split, side, fps) for split in splits}
    missing = [split for split in dict.fromkeys(splits) if not folders[split].exists()]
    videos = [video for split in missing for video in manifest.split(split)]
    _require_room(manifest, videos, side, fps)
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, len(videos))

    for split in missing:
        with _writing(folders[split]), _locked(folders[split]):
            if not folders[split].exists():
                _build(manifest, split, folders[split], side, fps, count)
    for split, folder in folders.items():
        _require_clips(ClipCache(folder), split, skip_damaged)
    return tuple(folders[split] for split in splits)


def prepared(manifest: Manifest, *, side: int, splits: tuple[str, ...] = ("train", "val")) -> tuple[Path, ...] | None:
    """What `prepare` would answer if it had nothing to decode, else None."""
    fps = reference_fps(manifest)
    folders = tuple(_folder(manifest, split, side, fps) for split in splits)
    return folders if all(folder.exists() for folder in folders) else None


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


def _folder(manifest: Manifest, split: str, side: int, fps: float) -> Path:
    videos = manifest.split(split)
    if not videos:
        raise ExpandError(f"the {split} split of {manifest.root} has no video")
    labelled = [(v.path, v.label, h) for v, h in zip(videos, manifest.hashes(videos), strict=True)]
    stated = (manifest.fps,) if manifest.fps else ()
    key = hashlib.sha256(
        repr((CACHE_VERSION, side, fps, split, manifest.classes, labelled, *stated)).encode()
    ).hexdigest()
    return cache_root() / "clips" / f"{split}-{key[:24]}"


def _some(videos: Sequence[Video]) -> Sequence[Video]:
    return videos[:: -(-len(videos) // PROBED)] if videos else videos


def expected_bytes(manifest: Manifest, videos: Sequence[Video], side: int, fps: float | None = None) -> float | None:
    """What the frames of these videos take in a cache, judged by some of them; None where none of these can be read."""
    fps = reference_fps(manifest) if fps is None else fps
    sizes = []
    for video in _some(videos):
        try:
            info = probe(manifest.absolute(video), rate=manifest.fps)
        except DamagedVideo:
            continue
        width, height = scaled(info.width, info.height, side)
        sizes.append(info.frames * (fps / info.fps if info.fps else 1) * width * height * 3)
    return statistics.fmean(sizes) * len(videos) if sizes else None


def _require_room(manifest: Manifest, videos: Sequence[Video], side: int, fps: float) -> None:
    """Raises `ExpandError` where the disk has less room than the videos need, judged by some of them and a tenth."""
    expected = expected_bytes(manifest, videos, side, fps)
    if expected is None:
        return
    root = cache_root()
    with _writing(root / "clips"):
        free = shutil.disk_usage(root).free / 1e9
    needed = 1.1 * expected / 1e9
    if needed > free:
        raise ExpandError(
            f"the clip cache needs about {needed:.3g} GB at {root}, {free:.3g} GB are free:"
            " set EXPAND_CACHE to a folder with more room, or data.cache_side to fewer pixels"
        )


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        problem = f"cannot write the clip cache at {folder} ({error.strerror})"
        raise ExpandError(f"{problem}: set EXPAND_CACHE to a folder with room") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process builds, the others wait. The lock file stays: removing it would let two in."""
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(manifest: Manifest, split: str, folder: Path, side: int, fps: float, count: Callable[[], None]) -> None:
    """Decodes a split into `folder`. Damaged videos are only noted there: without them it can be used at once."""
    unfinished = folder.with_suffix(".building")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed: we hold the lock
    try:
        unfinished.mkdir()
        _write(unfinished, manifest, split, side, fps, count)
        os.replace(unfinished, folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write(folder: Path, manifest: Manifest, split: str, side: int, fps: float, count: Callable[[], None]) -> None:
    clips: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    offset = 0
    with open(folder / "frames.u8", "wb") as file:
        for video, result in _decoded(manifest, manifest.split(split), side=side, fps=fps):
            count()
            if isinstance(result, DamagedVideo):
                skipped.append({"path": video.path, "reason": result.reason})
                continue
            file.write(np.ascontiguousarray(result).data)
            clips.append({"path": video.path, "label": video.label, "offset": offset, "shape": result.shape})
            offset += result.nbytes
        file.flush()
        os.fsync(file.fileno())
    index = {"version": CACHE_VERSION, "split": split, "side": side, "fps": fps, "classes": manifest.classes}
    with open(folder / "index.json", "w") as file_index:
        json.dump({**index, "bytes": offset, "clips": clips, "skipped": skipped}, file_index)
        file_index.flush()
        os.fsync(file_index.fileno())
    _sync(folder)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


Result = np.ndarray | DamagedVideo


def _decoded(
    manifest: Manifest, videos: Sequence[Video], *, side: int, fps: float | None
) -> Iterator[tuple[Video, Result]]:
    """Each video with its frames or what is wrong with it, in order; some are decoded ahead in threads."""

    def job(video: Video) -> Result:
        try:
            clip = decode(manifest.absolute(video), side=side, fps=fps, rate=manifest.fps)
            return clip if len(clip) > 1 else DamagedVideo(video.path, "a single frame: nothing moves in it")
        except DamagedVideo as error:
            return error

    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque[tuple[Video, Future[Result]]] = deque()
        for video in videos:
            ahead.append((video, pool.submit(job, video)))
            if len(ahead) > 2 * workers:
                first, future = ahead.popleft()
                yield first, future.result()
        for first, future in ahead:
            yield first, future.result()


def _require_clips(cache: ClipCache, split: str, skip_damaged: bool) -> None:
    if cache.skipped and not skip_damaged:
        first, number = cache.skipped[0], len(cache.skipped)
        raise ExpandError(
            f"{number} of {number + len(cache)} {split} videos are damaged; the first: {first.path}: {first.reason}"
            " (`expand data check SOURCE` lists them all; without data.strict they are left out)"
        )
    present = set(cache.labels.tolist())
    empty = [name for label, name in enumerate(cache.classes) if label not in present]
    if split == "train" and empty:
        raise ExpandError(f"without the damaged videos no training clip of class '{empty[0]}' is left: add some")
    if not present:
        raise ExpandError(f"without the damaged videos no {split} clip is left: add some")
