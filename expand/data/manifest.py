"""The manifest: the videos of a data set, with class, split and source.

Its fingerprint identifies the data, so that resuming a search on other data is refused. Content hashes are stored in the cache
folder, so that unchanged files are not read again.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from expand.core.errors import ExpandError
from expand.core.files import not_a_file
from expand.storage.folder import Listing

SPLITS = ("train", "val", "test")
CHANGES = ("label changed", "clip moved to another split", "file changed")  # the three fields of a listing's entry


def cache_root() -> Path:
    """The folder for everything derived from videos: $EXPAND_CACHE, $XDG_CACHE_HOME/expand or ~/.cache/expand."""
    if chosen := os.environ.get("EXPAND_CACHE"):
        return Path(os.path.abspath(Path(chosen).expanduser()))
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "expand"


@dataclass(frozen=True)
class Video:
    """One labelled video.

    `path` is relative to the manifest's root if the file is inside it. `label` is an index of the classes. All videos of a
    `group` (a person, a source video) belong to one split. The other fields are known for a prepared source (`expand data
    prepare`).
    """

    path: str
    label: int
    split: str
    group: str
    frames: int = 0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    bytes: int = 0
    sha256: str = ""


@dataclass(frozen=True)
class Manifest:
    """What a source holds. `layout` and `why` say how it was read, `left_out` what else lies there and is not used, `fps`
    the frame rate of frame folders and arrays that do not say theirs. `group_note` says that each file was taken for a group,
    `group_guess` is a pattern that may find the real ones."""

    root: Path
    classes: tuple[str, ...]
    videos: tuple[Video, ...]
    layout: str = ""
    why: str = ""
    left_out: tuple[str, ...] = ()
    fps: float = 0.0
    group_note: str = ""
    group_guess: str = ""

    def split(self, name: str) -> tuple[Video, ...]:
        return tuple(video for video in self.videos if video.split == name)

    def absolute(self, video: Video) -> Path:
        return self.root / video.path

    def hashes(self, videos: Sequence[Video] | None = None) -> list[str]:
        """The SHA-256 of each video's bytes, in order.

        Raises:
            ExpandError: a file cannot be read.
        """
        chosen = self.videos if videos is None else videos
        unknown = [video for video in chosen if not video.sha256]
        fresh = iter(content_hashes([self.absolute(video) for video in unknown]))
        return [video.sha256 or next(fresh) for video in chosen]

    def fingerprint(self) -> str:
        """SHA-256 over the classes, every video's path, label, split, group, size in bytes and content, and `fps`."""
        digest = hashlib.sha256(repr((self.classes, self.fps) if self.fps else self.classes).encode())
        for video, content in zip(self.videos, self.hashes(), strict=True):
            size = video.bytes or stamp_of(self.absolute(video))[1]
            digest.update(repr((video.path, video.label, video.split, video.group, size, content)).encode())
        return digest.hexdigest()

    def listing(self) -> Listing:
        """Plain JSON to store with a run, for `describe_changes`. A path listed twice gets its split in brackets."""
        rows: Listing = {}
        for video, content in zip(self.videos, self.hashes(), strict=True):
            key = f"{video.path} ({video.split})" if video.path in rows else video.path
            rows[key] = (self.classes[video.label], video.split, content)
        return rows

    def crossing_groups(self) -> tuple[str, ...]:
        """Groups with clips in more than one split: a leak that a user's lists may contain."""
        splits: dict[str, set[str]] = defaultdict(set)
        for video in self.videos:
            splits[video.group].add(video.split)
        return tuple(sorted(group for group, names in splits.items() if len(names) > 1))


def divide_groups(clips: Iterable[tuple[str, int]], shares: Mapping[str, float]) -> dict[str, str]:
    """Assigns whole groups to splits: "val" (and "test") by these shares, the rest to "train".

    The algorithm is greedy and deterministic: classes with the fewest groups first, large groups first, then by hash. A class
    with two groups or more is in both train and val, unless the groups of other classes forbid it.

    Args:
        clips: (group, label) of each clip.
        shares: the share of each split except "train".

    Returns:
        The split of each group.
    """
    sizes: dict[str, Counter[int]] = defaultdict(Counter)
    members: dict[int, set[str]] = defaultdict(set)
    for group, label in clips:
        sizes[group][label] += 1
        members[label].add(group)
    groups_of = {label: _in_order(groups, sizes, label) for label, groups in sorted(members.items())}
    wanted = {"train": 1 - sum(shares.values()), **shares}
    have: dict[str, Counter[int]] = {split: Counter() for split in wanted}
    sides: dict[str, str] = {}
    for label, groups in sorted(groups_of.items(), key=lambda item: len(item[1])):
        total = sum(sizes[group][label] for group in groups)
        left = [group for group in groups if group not in sides]
        for place, group in enumerate(left):
            lacking = [split for split in ("train", "val") if not have[split][label]]
            remaining = len(left) - place
            among = lacking[:remaining] if remaining <= len(lacking) else wanted
            sides[group] = max(among, key=lambda split: wanted[split] * total - have[split][label])
            have[sides[group]].update(sizes[group])
    _fill_gaps(sides, sizes, groups_of, have)
    return sides


def _in_order(groups: Iterable[str], sizes: Mapping[str, Counter[int]], label: int) -> list[str]:
    return sorted(groups, key=lambda group: (-sizes[group][label], hashlib.sha256(group.encode()).digest()))


def _fill_gaps(
    sides: dict[str, str],
    sizes: Mapping[str, Counter[int]],
    groups_of: Mapping[int, list[str]],
    have: dict[str, Counter[int]],
) -> None:
    """Moves a group to a split without its class, if no class disappears from training or validation by that."""
    for label, groups in groups_of.items():
        for split in ("train", "val"):
            for group in groups:
                giver, size = sides[group], sizes[group]
                stays = giver == "test" or all(have[giver][other] > size[other] for other in size)
                if not have[split][label] and stays:
                    have[giver].subtract(size)
                    have[split].update(size)
                    sides[group] = split


def describe_changes(old: Listing, new: Listing) -> str:
    """The differences of two listings in one line: "train: 1 video added, 2 labels changed"."""
    changes: dict[str, Counter[str]] = defaultdict(Counter)
    for path in new.keys() - old.keys():
        changes[new[path][1]]["video added"] += 1
    for path in old.keys() - new.keys():
        changes[old[path][1]]["video removed"] += 1
    for path in old.keys() & new.keys():
        for what, before, after in zip(CHANGES, old[path], new[path], strict=True):
            changes[old[path][1]][what] += before != after
    lines = [_one_split(split, changes[split]) for split in SPLITS if any(changes[split].values())]
    return "; ".join(lines) or "no path, label, split or content changed"


def _one_split(split: str, counts: Counter[str]) -> str:
    order = ("video added", "video removed", *CHANGES)
    parts = [
        f"{counts[what]} {what.replace(' ', 's ', 1) if counts[what] > 1 else what}" for what in order if counts[what]
    ]
    return f"{split}: {', '.join(parts)}"


def content_hashes(paths: Sequence[Path]) -> list[str]:
    """SHA-256 of each file. Stored hashes are used for files of the same size and modification time."""
    keys = [stamp_of(path) for path in paths]
    known = _remembered(keys)
    unknown = [key for key in dict.fromkeys(keys) if key not in known]
    with ThreadPoolExecutor(4) as pool:
        fresh = dict(zip(unknown, pool.map(_hash_file, (key[0] for key in unknown)), strict=True))
    _remember(fresh)
    return [known.get(key) or fresh[key] for key in keys]


Stamp = tuple[str, int, int]  # absolute path, size in bytes, modification time in ns


def stamp_of(path: Path) -> Stamp:
    """Path, size and modification time, to detect changes without reading; for a folder of frames, over all its files."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            each = [entry.stat() for entry in os.scandir(path) if entry.is_file()]
            newest = max((one.st_mtime_ns for one in each), default=0)
            return os.path.abspath(path), sum(one.st_size for one in each), max(newest, status.st_mtime_ns)
    except OSError as error:
        raise ExpandError(f"cannot read {path}: {error.strerror}") from error
    return os.path.abspath(path), status.st_size, status.st_mtime_ns


def _hash_file(path: str) -> str:
    """A file's SHA-256; for a folder of frames over its files' names and hashes, for a pipe or device over its kind."""
    try:
        if os.path.isdir(path):
            files = sorted(entry.name for entry in os.scandir(path) if entry.is_file())
            lines = (f"{name} {_hash_file(os.path.join(path, name))}\n" for name in files)
            return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
        if os.path.exists(path) and (kind := not_a_file(path)):
            return hashlib.sha256(kind.encode()).hexdigest()
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ExpandError(f"cannot read {path}: {error.strerror}") from error


@contextmanager
def _memory() -> Iterator[sqlite3.Connection]:
    folder = cache_root()
    folder.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(folder / "hashes.sqlite", timeout=30)
    try:
        with connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS hashes (path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, sha256 TEXT)"
            )
            yield connection
    finally:
        connection.close()


def _remembered(keys: Iterable[Stamp]) -> dict[Stamp, str]:
    query = "SELECT sha256 FROM hashes WHERE path = ? AND size = ? AND mtime_ns = ?"
    try:
        with _memory() as memory:
            found = {key: memory.execute(query, _sql(key)).fetchone() for key in set(keys)}
    except (sqlite3.Error, OSError):  # without the database (a full or read-only disk) hashing only takes longer
        return {}
    return {key: row[0] for key, row in found.items() if row}


def _remember(hashes: dict[Stamp, str]) -> None:
    if not hashes:
        return
    try:
        with _memory() as memory:
            rows = [(*_sql(key), value) for key, value in hashes.items()]
            memory.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?)", rows)
    except (sqlite3.Error, OSError):
        return


def _sql(key: Stamp) -> tuple[str | bytes, int, int]:
    """A key for SQLite, whose texts are UTF-8; another path is stored as bytes."""
    path, size, time = key
    return (path if path.isprintable() else os.fsencode(path)), size, time
