"""The result of every layout: rows with their origin, and all problems of the source."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from expand.core.errors import UsageError
from expand.core.files import escaped
from expand.data.video.images import ARRAY_SUFFIXES, is_picture

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".gif"})
CLIP_SUFFIXES = VIDEO_SUFFIXES | ARRAY_SUFFIXES
SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validate": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
SHOWN = 20  # most problems that an error shows; the others are counted


@dataclass(frozen=True)
class Row:
    """One video as its source describes it.

    `split` and `group` are "" if the source does not state them. `frames` is the stated number of pictures of a frame folder,
    or 0.
    """

    path: Path
    label: str
    split: str
    group: str
    where: str
    frames: int = 0


@dataclass(frozen=True)
class Options:
    """How a source is to be read: `layout` by name instead of detected, which of three official splits, which column of a
    list names the group, the frame rate of frame folders and arrays, whether listed files may be missing, and a regular
    expression that finds the group in a clip's path."""

    layout: str | None = None
    split: int = 1
    group_column: str | None = None
    fps: float | None = None
    skip_missing: bool = False
    group_pattern: str | None = None


@dataclass
class Found:
    """What a layout read below `root`.

    `names` maps integer labels to classes, `order` is the official order of the classes, `left_out` lists unused files with
    reasons.
    """

    rows: list[Row]
    names: dict[int, str] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    left_out: list[str] = field(default_factory=list)


class BadInput(UsageError):
    """All problems of a source, one per line. The message shows the first twenty; `problems` holds all."""

    def __init__(self, source: Path, problems: Sequence[str], hint: str = "") -> None:
        self.problems = tuple(problems)
        end = f" ({hint})" if hint else ""
        if len(problems) == 1:
            super().__init__(problems[0] + end)
            return
        rest = [f"and {len(problems) - SHOWN} more: `expand data check --json` lists all"] * (len(problems) > SHOWN)
        lines = "\n  ".join([*problems[:SHOWN], *rest])
        super().__init__(f"{source}: {len(problems)} problems{end}\n  {lines}")


class Problems:
    """Collects the problems of a source, so that all of them are reported at once."""

    def __init__(self, source: Path) -> None:
        self.source, self.hint = source, ""
        self.found: list[str] = []

    def add(self, *problems: str) -> None:
        self.found += map(escaped, problems)

    def stop(self) -> None:
        """Raises `BadInput` if there are problems."""
        if self.found:
            raise BadInput(self.source, self.found, self.hint)


def is_number(text: str) -> bool:
    """Whether a text is a whole number that may be a label or a number of frames."""
    return text.isdecimal() and len(text) < 10


def is_clip_file(name: str) -> bool:
    """Whether a name is a video or an array; hidden files are not (macOS writes `._clip.mp4`)."""
    base = os.path.basename(name)
    return os.path.splitext(base)[1].lower() in CLIP_SUFFIXES and not base.startswith(".")


def entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise UsageError(f"cannot look into the folder {folder}: {error.strerror}") from error


def clips_below(folder: Path) -> list[Path]:
    """Videos, arrays and folders of pictures anywhere below a folder, in order. Links are followed, each folder once."""
    found: list[Path] = []
    seen: set[str] = set()

    def refuse(error: OSError) -> None:
        raise UsageError(f"cannot look into the folder {error.filename}: {error.strerror}") from error

    for place, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        if os.path.realpath(place) in seen:  # a circle of links
            folders.clear()
            continue
        seen.add(os.path.realpath(place))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        clips = [name for name in files if is_clip_file(name)]
        found += [Path(place, name) for name in clips]
        if not clips and Path(place) != folder and any(is_picture(name) for name in files):
            found.append(Path(place))
    return sorted(found)


def annotation_files(root: Path, pattern: str) -> list[Path]:
    """Files whose whole name matches, in the folder itself, or else in one folder below it (`annotations/`)."""
    match = re.compile(pattern, re.IGNORECASE).fullmatch
    if here := _matching(root, match):
        return here
    for folder in (path for path in entries(root) if path.is_dir() and os.access(path, os.R_OK | os.X_OK)):
        if found := _matching(folder, match):
            return found
    return []


def _matching(folder: Path, match: Callable[[str], object]) -> list[Path]:
    """The matching files of a folder. Names are matched before files are opened, because folders may hold 100,000 files."""
    try:
        return sorted(Path(entry.path) for entry in os.scandir(folder) if match(entry.name) and entry.is_file())
    except OSError as error:
        raise UsageError(f"cannot look into the folder {folder}: {error.strerror}") from error


def base_of(root: Path, paths: Iterable[str]) -> Path:
    """The folder that relative paths start from: `root` or a folder in it, by where most of some paths exist."""
    relative = [path for path in paths if not os.path.isabs(path)]
    some = relative[:: max(1, len(relative) // 50)]
    bases = [root, *(path for path in entries(root) if path.is_dir())]
    counts = [sum(os.path.exists(base / path) for path in some) for base in bases]
    return bases[counts.index(max(counts))]


def place(root: Path, base: Path, text: str, where: str, problems: Problems) -> Path:
    """The absolute path of a listed path. Relative paths must stay below the root, also after following links."""
    path = os.path.normpath(os.path.join(base, text))  # strings, because pathlib takes ten times as long per line
    if "\0" in text:
        problems.add(f"{where}: the path holds a NUL character")
    elif os.path.isabs(text):
        return Path(path)
    elif not _is_below(path, root):
        problems.add(f"{where}: '{text}' is outside {root}: move the file there, or list its absolute path")
    elif not _is_below(real := _real(path), _real_folder(str(root))):
        problems.add(f"{where}: '{text}' is linked to {real}, outside {root}: list its absolute path")
    return Path(path)


def _is_below(path: str, root: str | Path) -> bool:
    return path.startswith(os.path.join(root, ""))


def _real(path: str) -> str:
    if os.path.islink(path):
        return os.path.realpath(path)
    return os.path.join(_real_folder(os.path.dirname(path)), os.path.basename(path))


@lru_cache(maxsize=4096)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def shown(path: Path, root: Path) -> str:
    """A path for messages and manifests: relative if it is below the root."""
    text, start = str(path), os.path.join(root, "")
    return text[len(start) :] if text.startswith(start) else text
