"""The known layouts, in the order of detection.

A layout's `finds` returns why a source has this layout, or "". Its `read` returns the rows and adds errors to `problems`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from expand.core.errors import UsageError, unknown
from expand.core.files import not_a_file
from expand.data.sources import official
from expand.data.sources.annotation_lists import read_lines, read_list
from expand.data.sources.records import (
    CLIP_SUFFIXES,
    SPLIT_NAMES,
    Found,
    Options,
    Problems,
    Row,
    annotation_files,
    clips_below,
    entries,
    is_clip_file,
    is_number,
    shown,
)

MMACTION = r"(?:.*_)?(train|val|test)(?:_list|_split_?(\d+))?_(?:videos|rawframes)\.txt"


@dataclass(frozen=True)
class Layout:
    name: str
    finds: Callable[[Path], str]
    read: Callable[[Path, Options, Problems], Found]


def detect(source: Path, wanted: str | None = None) -> tuple[Layout, str]:
    """The layout of a source, and the reason for it.

    Raises:
        UsageError: the layout is unknown, or the source does not have the given layout.
    """
    if not source.is_dir() and (reason := not_a_file(source)):
        raise UsageError(f"{source}: {reason}; give a folder of videos or a list (.csv, .txt)")
    if wanted is not None:
        by_name = {layout.name: layout for layout in LAYOUTS}
        if wanted not in by_name:
            raise unknown("layout", wanted, by_name)
        if not (why := by_name[wanted].finds(source)):
            raise UsageError(f"{source} does not have the layout '{wanted}': {LOOKED_FOR[wanted]}")
        return by_name[wanted], why
    fitting = [(layout, why) for layout in LAYOUTS if (why := layout.finds(source))]
    if not fitting:
        raise UsageError(
            f"{source} is neither a folder nor a list (.csv, .txt): a list has one line 'path,label' per video"
        )
    (layout, why), *others = fitting
    also = [other.name for other, _ in others if other.name != "folders"]
    return layout, why + (f"; it could be read as {' or '.join(also)}, too: --layout" if also else "")


def _finds_lists(source: Path) -> str:
    if source.is_file():
        return f"{source.name} is a list" if source.suffix.lower() in (".csv", ".txt") else ""
    found = [entry.name for entry in entries(source) if _is_split_list(entry)]
    return f"there is {', '.join(found)}" if found else ""


def _read_lists(source: Path, options: Options, problems: Problems) -> Found:
    if source.is_file():
        names = class_names(source.parent, problems)
        return Found(read_list(source, source.parent, options, problems), names)
    lists = {entry: SPLIT_NAMES[entry.stem.lower()] for entry in entries(source) if _is_split_list(entry)}
    _require_training(source, lists)
    rows = [row for entry, split in lists.items() for row in read_list(entry, source, options, problems, split)]
    return Found(rows, class_names(source, problems))


def _is_split_list(entry: Path) -> bool:
    return entry.suffix.lower() in (".csv", ".txt") and entry.stem.lower() in SPLIT_NAMES and entry.is_file()


def class_names(root: Path, problems: Problems) -> dict[int, str]:
    """Class names from `classes.txt` or mmaction2's `label_map*.txt` (a name per line, from label 0), or `classInd.txt`."""
    found = annotation_files(root, r"classes\.txt|classInd\.txt|label_map.*\.txt")
    if not found:
        return {}
    lines = [line for _, line in read_lines(found[0], root, problems)]
    pairs = [line.split(None, 1) for line in lines]
    if all(len(pair) == 2 and is_number(pair[0]) for pair in pairs):
        return {int(number): name for number, name in pairs}
    return dict(enumerate(lines))


def _finds_mmaction(source: Path) -> str:
    found = [path.name for path in annotation_files(source, MMACTION)] if source.is_dir() else []
    return f"there is {', '.join(found)}" if any("train" in name for name in found) else ""


def _read_mmaction(source: Path, options: Options, problems: Problems) -> Found:
    """Reads `kinetics400_train_list_videos.txt`, `ucf101_train_split_1_rawframes.txt`: labels are integers from 0."""
    lists: dict[Path, str] = {}
    for path in annotation_files(source, MMACTION):
        match = re.fullmatch(MMACTION, path.name, re.IGNORECASE)
        if match and match[2] in (None, str(options.split)):
            lists[path] = match[1].lower()
    _require_training(source, lists)
    rows = [row for path, split in lists.items() for row in read_list(path, source, options, problems, split)]
    return Found(rows, class_names(source, problems))


def _finds_split_folders(source: Path) -> str:
    found = [entry.name for entry in entries(source) if _is_split_folder(entry)] if source.is_dir() else []
    return f"there are folders {', '.join(found)}" if found else ""


def _is_split_folder(entry: Path) -> bool:
    return entry.name.lower() in SPLIT_NAMES and entry.is_dir()


def _read_split_folders(source: Path, options: Options, problems: Problems) -> Found:
    _refuse_column(options)
    folders = {entry: SPLIT_NAMES[entry.name.lower()] for entry in entries(source) if _is_split_folder(entry)}
    _require_training(source, folders)
    return Found([row for entry, split in folders.items() for row in _class_folders(entry, source, split)])


def _read_folders(source: Path, options: Options, problems: Problems) -> Found:
    _refuse_column(options)
    return Found(_class_folders(source, source, ""))


def _class_folders(folder: Path, root: Path, split: str) -> list[Row]:
    """The rows of `folder/<class>/.../clip.mp4`; a clip may also be an array or a folder of pictures."""
    classes = [entry for entry in entries(folder) if entry.is_dir() and entry.name[0] != "."]
    rows = [Row(path, each.name, split, "", shown(path, root)) for each in classes for path in clips_below(each)]
    if not rows:
        loose = sum(is_clip_file(entry.name) for entry in entries(folder))
        found = f"{loose} videos are directly in it" if loose else "no videos found"
        raise UsageError(
            f"{folder}: {found}; expected a folder per class with videos ({' '.join(sorted(CLIP_SUFFIXES))})"
        )
    return rows


def _require_training(root: Path, splits: dict[Path, str]) -> None:
    if twice := [name for name, count in Counter(splits.values()).items() if count > 1]:
        names = ", ".join(entry.name for entry, split in splits.items() if split in twice)
        raise UsageError(f"{root} has {names} for one split: keep one of them")
    if "train" not in splits.values():
        names = ", ".join(entry.name for entry in splits) or "no list of that split"
        raise UsageError(f"{root} has {names} but no training split: add train")


def _refuse_column(options: Options) -> None:
    if options.group_column:
        raise UsageError(f"group column '{options.group_column}': folders have no columns; list the videos in a .csv")


LAYOUTS = (
    Layout("ucf101", official.finds_ucf101, official.read_ucf101),
    Layout("hmdb51", official.finds_hmdb51, official.read_hmdb51),
    Layout("something", official.finds_something, official.read_something),
    Layout("kinetics", official.finds_kinetics, official.read_kinetics),
    Layout("mmaction", _finds_mmaction, _read_mmaction),
    Layout("lists", _finds_lists, _read_lists),
    Layout("split-folders", _finds_split_folders, _read_split_folders),
    Layout("folders", lambda source: "it is a folder without any list" if source.is_dir() else "", _read_folders),
)
LOOKED_FOR = {
    "ucf101": "expected trainlist01.txt, testlist01.txt and classInd.txt in it or in a folder of it",
    "hmdb51": "expected brush_hair_test_split1.txt and so on in it or in a folder of it",
    "something": "expected something-something-v2-train.json, -validation.json and -labels.json, or labels/train.json and so on",
    "kinetics": "expected a .csv with the columns label,youtube_id,time_start,time_end,split",
    "mmaction": "expected NAME_train_list_videos.txt or NAME_train_list_rawframes.txt in it or in a folder of it",
    "lists": "expected train.csv (or .txt) in it, or one list",
    "split-folders": "expected folders train, val, test in it",
    "folders": "expected a folder",
}
