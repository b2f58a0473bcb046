"""Decode once: all clips of a split as plain uint8 frames in files that all workers of a node map into memory.

A cache folder's name is a hash of its content (videos, labels, side, frame rate, frame limit), so it is never stale: other data
have another folder. Its shards hold the frames, `index.json` the position of each clip. It is built in `NAME.building`, where
finished shards survive a killed process, and appears complete or not at all.

With decoding "on the fly" the folder holds the position of each frame in its file, and frames are decoded on request.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from expand.core.atomic import locked, sync, write_atomically
from expand.core.errors import ExpandError, Unavailable
from expand.data.cache import shards
from expand.data.cache.disk_space import Budget, reference_fps, remedies, require_disk_space
from expand.data.cache.entries import CACHE_VERSION, Plan, entry, stamp
from expand.data.cache.shards import Entry
from expand.data.manifest import Manifest, cache_root
from expand.data.parallel import in_order
from expand.data.video.checks import DamagedVideo
from expand.data.video.decode import decode
from expand.data.video.seek import pick

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Problem:
    path: str
    reason: str


class ClipCache:
    """One split's clips, read-only. It is pickled as its folder's name.

    `content` identifies the clips, independent of their location. `fps` is the cache's frame rate, `rates` each file's own, `cut`
    the number of frames that each lost to `data.cache_frames`.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            index = json.loads((self.folder / "index.json").read_text())
            for number, expected in enumerate(index["shards"]):
                self._require_bytes(number, expected["bytes"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Unavailable(f"no clip cache at {self.folder} ({error}): delete that folder and run again") from error
        self._index, self._clips = index, index["clips"]
        self._maps: dict[int, np.ndarray] = {}
        self.classes: tuple[str, ...] = tuple(index["classes"])
        self.content: str = index.get("content", self.folder.name)  # older caches are named after their content
        self.fps: float = index["fps"]
        self.labels = np.array([clip["label"] for clip in self._clips], dtype=np.int64)
        self.names: tuple[str, ...] = tuple(clip["path"] for clip in self._clips)
        self.rates: tuple[float, ...] = tuple(clip["fps"] for clip in self._clips)
        self.cut: tuple[int, ...] = tuple(clip["cut"] for clip in self._clips)
        self.skipped: tuple[Problem, ...] = tuple(Problem(**entry) for entry in index["skipped"])

    def __len__(self) -> int:
        return len(self._clips)

    def __reduce__(self) -> tuple[type, tuple[Path]]:
        return type(self), (self.folder,)

    @property
    def on_the_fly(self) -> bool:
        """Whether frames are decoded on request."""
        return self._index["root"] is not None

    @cached_property
    def nbytes(self) -> int:
        """Bytes of all frames."""
        return sum(int(np.prod(clip["shape"])) for clip in self._clips)

    def length(self, index: int) -> int:
        """The number of frames of clip `index`."""
        return int(self._clips[index]["shape"][0])

    def shape(self, index: int) -> tuple[int, int, int, int]:
        """The shape (T, H, W, 3) of clip `index`."""
        frames, height, width, channels = self._clips[index]["shape"]
        return frames, height, width, channels

    def frames(self, index: int) -> np.ndarray:
        """Clip `index` as uint8 (T, H, W, 3): a view of the mapped file, or decoded now."""
        if not self.on_the_fly:
            return self._data(index, np.uint8, self.shape(index))
        path, clip = self._file(index), self._clips[index]
        whole = decode(path, side=self._index["side"], fps=self.fps, rate=self._index["rate"])
        start = clip["cut"] // 2
        return whole[start : start + self.length(index)]

    def picked(self, index: int, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """The frames `indices` of clip `index`, uint8 (len(indices), H, W, 3).

        Only these are read, or decoded from the keyframe before each.

        Raises:
            DamagedVideo: the file has changed since the cache was built.
        """
        if not self.on_the_fly:
            return self.frames(index)[indices]
        width, height = self._clips[index]["size"]
        rows = self._data(index, np.int64, (self.length(index), 3))
        return pick(self._file(index), rows[indices], (width, height))

    def _require_bytes(self, number: int, expected: int) -> None:
        size = (self.folder / shards.name(number, "bin")).stat().st_size
        if size != expected:
            what = f"{shards.name(number, 'bin')} has {size} bytes instead of {expected}"
            raise Unavailable(f"the clip cache {self.folder} is damaged ({what}): delete that folder and run again")

    def _data(self, index: int, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
        clip = self._clips[index]
        number, start = clip["shard"], clip["offset"]
        if number not in self._maps:
            path = self.folder / shards.name(number, "bin")
            self._maps[number] = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self._maps[number][start : start + size].view(dtype).reshape(shape)

    def _file(self, index: int) -> Path:
        path = Path(self._index["root"]) / self.names[index]
        if stamp(path) != self._clips[index]["stamp"]:
            raise DamagedVideo(path, "missing or changed since the cache was built: run again")
        return path


def prepare(
    manifest: Manifest,
    *,
    side: int,
    frames: int | None = None,
    fly: bool = False,
    splits: tuple[str, ...] = ("train", "val"),
    skip_damaged: bool = False,
    progress: Progress | None = None,
) -> tuple[Path, ...]:
    """Builds one cache folder per split, and decodes what is missing, in one process at a time.

    All clips are converted to the training split's median frame rate. Of videos with more than `frames` frames, the middle is
    kept. With `fly` every video is decoded once to find damaged ones, but only the positions of its frames are stored.
    `progress` gets (videos done, videos to decode). After an error, finished shards are reused the next time.

    Raises:
        ExpandError: a video is damaged and may not be skipped, no clip of a training class is left, or the disk is full.
    """
    plans = _plans(manifest, side, frames, fly, splits)
    missing = [plan for plan in dict.fromkeys(plans) if not plan.folder.exists()]
    videos = [video for plan in missing for video in manifest.split(plan.split)]
    budget = Budget(side, plans[0].fps, frames, fly)
    with _writing(cache_root() / "clips", manifest, budget):
        require_disk_space(manifest, videos, budget, sum(_bytes_in(plan.unfinished) for plan in missing))
    done = 0

    def count(number: int = 1) -> None:
        nonlocal done
        for _ in range(number):
            done += 1
            if progress:
                progress(done, len(videos))

    for plan in missing:
        with _writing(plan.folder, manifest, budget), locked(plan.folder.with_suffix(".lock")):
            if not plan.folder.exists():
                _build(plan, count)
    for plan in plans:
        _require_clips(ClipCache(plan.folder), plan.split, skip_damaged)
    return tuple(plan.folder for plan in plans)


def prepared(
    manifest: Manifest,
    *,
    side: int,
    frames: int | None = None,
    fly: bool = False,
    splits: tuple[str, ...] = ("train", "val"),
) -> tuple[Path, ...] | None:
    """The result of `prepare` if nothing has to be decoded, else None."""
    folders = tuple(plan.folder for plan in _plans(manifest, side, frames, fly, splits))
    return folders if all(folder.exists() for folder in folders) else None


def _plans(manifest: Manifest, side: int, frames: int | None, fly: bool, splits: tuple[str, ...]) -> list[Plan]:
    fps = reference_fps(manifest)
    return [Plan(manifest, split, side, fps, frames, fly) for split in splits]


@contextmanager
def _writing(folder: Path, manifest: Manifest, budget: Budget) -> Iterator[None]:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        problem = f"cannot write the clip cache at {folder} ({error.strerror})"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ExpandError(f"{problem}; finished clips are kept. {remedies(manifest, budget)}") from error
        raise ExpandError(f"{problem}: set EXPAND_CACHE to a writable folder with enough disk space") from error


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir()) if folder.is_dir() else 0


def _build(plan: Plan, count: Callable[..., None]) -> None:
    """Writes a split's shards and then its index, continuing from finished shards. Damaged videos are listed in the index."""
    videos = plan.manifest.split(plan.split)
    plan.unfinished.mkdir(exist_ok=True)
    tables = shards.finished(plan.unfinished)
    before = sum(table["entries"] for table in tables)
    count(before)

    def entries() -> Iterator[Entry]:
        for _, kept in in_order(videos[before:], lambda video: entry(plan, video), weigh=lambda kept: kept.nbytes):
            yield kept
            count()

    stream = entries()
    while table := shards.write_shard(plan.unfinished, len(tables), stream):
        tables.append(table)
    write_atomically(plan.unfinished / "index.json", json.dumps(_index(plan, tables)).encode())
    sync(plan.unfinished)
    os.replace(plan.unfinished, plan.folder)
    sync(plan.folder.parent)


def _index(plan: Plan, tables: Sequence[shards.Table]) -> dict[str, Any]:
    return {
        "version": CACHE_VERSION, "content": plan.content, "split": plan.split, "side": plan.side, "fps": plan.fps,
        "frames": plan.frames, "root": str(plan.manifest.root) if plan.fly else None, "rate": plan.manifest.fps,
        "classes": plan.manifest.classes,
        "shards": [{"bytes": table["bytes"], "crc32": table["crc32"]} for table in tables],
        "clips": [clip for table in tables for clip in table["clips"]],
        "skipped": [problem for table in tables for problem in table["skipped"]],
    }  # fmt: skip


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
