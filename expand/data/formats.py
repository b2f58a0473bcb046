"""The layouts users have, read into one manifest. `read_source` takes

- a folder with `train.csv` and, if there are, `val.csv` and `test.csv` (also `valid`, `validation`, and `.txt`);
- a folder `root/<split>/<class>/*.mp4`, or `root/<class>/*.mp4`;
- one list, `.csv` or `.txt`.

A list has a line a video, `path,label` or `path label` (the label is what follows the last space), with or without a
header; a header may also name `group` and `split`. Labels are class names or integers; integers are named by a
`classes.txt` or `classInd.txt` beside the list. Paths are relative to the list's folder.
"""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from expand.data.manifest import SPLITS, Manifest, Video, divide_groups
from expand.errors import UsageError, unknown

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".gif"})
SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
COLUMNS = {
    "path": ("path", "video", "video_path", "file", "filename", "clip"),
    "label": ("label", "class", "class_name", "category", "action"),
    "group": ("group",),
    "split": ("split",),
}
UCF101_GROUP = re.compile(r"(v_.+_g\d+)_c\d+")


@dataclass(frozen=True)
class Row:
    """One video as its source names it; `split` and `group` are empty where the source does not say."""

    path: Path
    label: str
    split: str
    group: str
    where: str


def read_source(source: str | Path, *, validation_share: float = 0.2, test_share: float = 0.2) -> Manifest:
    """The manifest of a source. A source without validation clips gives up a share of its training clips, one without
    any split a test share too; always whole groups, chosen by hash. Raises `UsageError` with the place and the remedy.
    """
    if validation_share <= 0 or test_share < 0 or validation_share + test_share >= 1:
        shares = f"validation_share={validation_share} and test_share={test_share}"
        raise UsageError(f"{shares}: the first must be above 0, and both together below 1")
    path = Path(os.path.abspath(Path(source).expanduser()))
    if not os.path.exists(path):
        raise UsageError(
            f"no data at {path}: wanted a folder of videos, a folder with train.csv, or a list (.csv, .txt)"
        )
    root = path if path.is_dir() else path.parent
    rows = _read_folder(path) if path.is_dir() else read_list(path)
    _require_files(rows, root)
    rows, classes = _name_classes(rows, root)
    labels = {name: label for label, name in enumerate(classes)}
    videos = [
        Video(_shown(row.path, root), labels[row.label], row.split, row.group or _group(row, root)) for row in rows
    ]
    return Manifest(root, classes, _complete(videos, validation_share, test_share))


def read_list(path: Path, split: str = "") -> list[Row]:
    """The rows of one list. Raises `UsageError` with the line number for a row without a label."""
    if path.suffix.lower() not in (".csv", ".txt"):
        raise UsageError(f"{path} is neither a folder nor a list (.csv, .txt): a list has a line 'path,label' a video")
    lines = _lines(path)
    if not lines:
        raise UsageError(f"{path} lists no video: wanted a line 'path,label' a video")
    commas = _has_commas(lines[0][1])
    number, cells = lines[0][0], _cells(lines[0][1], commas)
    header = not any(_is_video(cell) for cell in cells)
    columns = _columns(cells, f"{path.name} line {number}") if header else {"path": 0, "label": 1}
    width = len(cells) if header else 2
    body = lines[1:] if header else lines
    if not body:
        raise UsageError(f"{path} lists no video, only a header: wanted a line 'path,label' a video")
    return [_row(path, number, _cells(line, commas), columns, width, split) for number, line in body]


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the list {path} as UTF-8 text: {error}") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1)]
    return [(number, line) for number, line in lines if line and not line.startswith("#")]


def _has_commas(line: str) -> bool:
    """Whether commas part the cells: not so in `one, two.mp4 3`, where the comma belongs to the path."""
    first = _cells(line, commas=True)
    return len(first) > 1 and (_is_video(first[0]) or not any(_is_video(cell) for cell in _cells(line, commas=False)))


def _cells(line: str, commas: bool) -> list[str]:
    if commas:
        return [cell.strip() for cell in next(csv.reader([line], skipinitialspace=True))]
    cells = line.split("\t") if "\t" in line else line.rsplit(None, 1)
    return [cell.strip().strip('"') for cell in cells]


def _columns(header: Sequence[str], where: str) -> dict[str, int]:
    names = [cell.lower() for cell in header]
    found = {field: [names.index(name) for name in known if name in names] for field, known in COLUMNS.items()}
    if not found["path"] or not found["label"]:
        raise UsageError(
            f"{where}: '{', '.join(header)}' is neither a video with its label nor a header naming 'path' and 'label'"
            f" (videos end in {' '.join(sorted(VIDEO_SUFFIXES))})"
        )
    return {field: places[0] for field, places in found.items() if places}


def _row(source: Path, number: int, cells: list[str], columns: dict[str, int], width: int, split: str) -> Row:
    where = f"{source.name} line {number}"
    if len(cells) > width:
        raise UsageError(
            f"{where}: {len(cells)} cells instead of {width}: quote what holds a comma, or name the columns"
        )
    values = {field: cells[place] if place < len(cells) else "" for field, place in columns.items()}
    if not values["label"] or not values["path"]:
        raise UsageError(f"{where}: no label beside '{', '.join(cells)}' (wanted 'path,label' or 'path label')")
    own = values.get("split", "").lower()
    if not split and own and own not in SPLIT_NAMES:
        raise UsageError(f"{where}: {unknown('split', own, SPLIT_NAMES)}")
    path = Path(os.path.normpath(source.parent / values["path"]))
    return Row(path, values["label"], split or SPLIT_NAMES.get(own, ""), values.get("group", ""), where)


def _read_folder(root: Path) -> list[Row]:
    entries = _entries(root)
    lists = {entry: SPLIT_NAMES[entry.stem.lower()] for entry in entries if _is_split_list(entry)}
    folders = {entry: SPLIT_NAMES[entry.name.lower()] for entry in entries if _is_split_folder(entry)}
    splits = lists or folders
    if twice := [name for name, count in Counter(splits.values()).items() if count > 1]:
        names = ", ".join(entry.name for entry, split in splits.items() if split in twice)
        raise UsageError(f"{root} has {names} for one split: keep one of them")
    if splits and "train" not in splits.values():
        raise UsageError(f"{root} has {', '.join(entry.name for entry in splits)} but no training split: add train")
    if lists:
        return [row for entry, split in lists.items() for row in read_list(entry, split)]
    if folders:
        return [row for entry, split in folders.items() for row in _class_folders(entry, split)]
    return _class_folders(root, "")


def _is_split_list(entry: Path) -> bool:
    return entry.suffix.lower() in (".csv", ".txt") and entry.stem.lower() in SPLIT_NAMES and entry.is_file()


def _is_split_folder(entry: Path) -> bool:
    return entry.name.lower() in SPLIT_NAMES and entry.is_dir()


def _class_folders(root: Path, split: str) -> list[Row]:
    """`root/<class>/.../clip.mp4`; hidden files (macOS leaves `._clip.mp4`) are no clips."""
    folders = [entry for entry in _entries(root) if entry.is_dir() and entry.name[0] != "."]
    rows = [Row(path, folder.name, split, "", str(path)) for folder in folders for path in _videos(folder)]
    if not rows:
        loose = sum(_is_video(entry.name) for entry in _entries(root))
        found = f"{loose} videos lie in it directly" if loose else "no videos found"
        raise UsageError(f"{root}: {found}; wanted a folder a class with videos ({' '.join(sorted(VIDEO_SUFFIXES))})")
    return rows


def _videos(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if _is_video(path.name) and path.name[0] != "." and path.is_file())


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise UsageError(f"cannot look into the folder {folder}: {error.strerror}") from error


def _is_video(name: str) -> bool:
    return Path(name).suffix.lower() in VIDEO_SUFFIXES


def _require_files(rows: Sequence[Row], root: Path) -> None:
    missing = [row for row in rows if not os.path.isfile(row.path)]
    if missing:
        first = missing[0]
        raise UsageError(
            f"{first.where}: there is no file {first.path} ({len(missing)} of {len(rows)} listed are missing);"
            f" paths are read relative to {root}: mend the list or move it beside the videos"
        )


def _name_classes(rows: list[Row], root: Path) -> tuple[list[Row], tuple[str, ...]]:
    """The rows with class names for labels, and the classes: those of the training rows, in order."""
    if all(row.label.isdecimal() for row in rows):
        names = _class_names(root)
        rows = [replace(row, label=_class_name(row, names)) for row in rows]
        order = {row.label: int(row.label) for row in rows} if not names else {n: i for i, n in names.items()}
    else:
        order = {row.label: 0 for row in rows}
    trained = {row.label for row in rows if row.split in ("train", "")}
    classes = tuple(sorted(trained, key=lambda name: (order[name], name)))
    if not trained:
        raise UsageError(f"{root}: no video is for training: mark some as train")
    for row in rows:
        if row.label not in trained:
            some = ", ".join(classes[:8]) + (", ..." if len(classes) > 8 else "")
            raise UsageError(
                f"{row.where}: class '{row.label}' ({row.split}) has no training clip (the training"
                f" classes are {some}): list some for training, or leave the class out"
            )
    if len(classes) < 2:
        raise UsageError(f"{root}: only one class, '{classes[0]}': a classifier needs at least two")
    return rows, classes


def _class_names(root: Path) -> dict[int, str]:
    """`classes.txt`: a name a line, the first for label 0; or `classInd.txt`, `1 ApplyEyeMakeup`, by its numbers."""
    for path in (root / "classes.txt", root / "classInd.txt"):
        if not path.is_file():
            continue
        lines = [line for _, line in _lines(path)]
        pairs = [line.split(None, 1) for line in lines]
        if all(len(pair) == 2 and pair[0].isdecimal() for pair in pairs):
            return {int(number): name for number, name in pairs}
        return dict(enumerate(lines))
    return {}


def _class_name(row: Row, names: dict[int, str]) -> str:
    if not names:
        return str(int(row.label))
    if int(row.label) not in names:
        allowed = f"{min(names)} to {max(names)}"
        raise UsageError(
            f"{row.where}: label {row.label} has no name in classes.txt or classInd.txt (there: {allowed})"
        )
    return names[int(row.label)]


def _group(row: Row, root: Path) -> str:
    match = UCF101_GROUP.fullmatch(row.path.stem)
    return match[1] if match else str(Path(_shown(row.path, root)).with_suffix(""))


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _complete(videos: list[Video], validation: float, test: float) -> tuple[Video, ...]:
    """The videos, in split order, with validation (and, where no split was given, test) taken out of training."""
    given = {video.split for video in videos}
    videos = [replace(video, split=video.split or "train") for video in videos]
    if "val" not in given:
        shares = {"val": validation, "test": test} if given == {""} and test else {"val": validation}
        sides = divide_groups(((v.group, v.label) for v in videos if v.split == "train"), shares)
        videos = [replace(v, split=sides[v.group]) if v.split == "train" else v for v in videos]
    if not any(video.split == "val" for video in videos):
        groups = len({video.group for video in videos})
        raise UsageError(
            f"no validation clip can be taken out of {groups} groups, one a class: give a val.csv, or more"
        )
    return tuple(video for split in SPLITS for video in videos if video.split == split)
